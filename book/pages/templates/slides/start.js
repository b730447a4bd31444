// Starts the deck: arrow keys, Esc for the overview, ?print-pdf for printing.
Reveal.initialize({
  width: 1120,
  height: 700,
  margin: 0.03,
  center: false,
  hash: true,
  history: false,
  transition: "none",
  slideNumber: "c/t",
  controlsTutorial: false,
});
