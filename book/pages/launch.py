"""Where a notebook can be opened: buttons of a page, badges of editions and README.

Colab, Kaggle, SageMaker Studio Lab and Binder open notebooks of a public repository on
GitHub; its address is `repository` in pyproject.toml, else that of git's remote. While
there is none, a notebook can only be downloaded.
"""

import html
from urllib.parse import quote

from book.translate.catalogues import english
from d2l_utils.frameworks import FRAMEWORKS

BRANCH = "main"
# In the forms that the hosts themselves document.
HOSTS = {
    "Colab": "https://colab.research.google.com/github/{repo}/blob/{branch}/{path}",
    "Kaggle": "https://kaggle.com/kernels/welcome?src="
    "https://github.com/{repo}/blob/{branch}/{path}",
    "SageMaker Studio Lab": "https://studiolab.sagemaker.aws/import/github/"
    "{repo}/blob/{branch}/{path}",
    "Binder": "https://mybinder.org/v2/gh/{repo}/{branch}?labpath={quoted}",
}
GPU_HOSTS = ("Kaggle", "SageMaker Studio Lab")
EXERCISES = "_exercises"  # ends the name of a lesson's exercises
BESIDE = {  # key among the strings: what is beside the pages, the first that was made
    "slides": ("slides/{folder}/{lesson}.html", "slides/{framework}/{lesson}.html"),
    "pdf": ("pdf/{framework}/{section}.pdf",),
    "blank": (
        "blank/{folder}/{exercises}.ipynb",  # in the reader's language
        "blank/{framework}/{exercises}.ipynb",
        "exercises/{framework}/{exercises}.ipynb",  # without the package
    ),
}
ABSENT = {  # (framework, host): key of the reason among the strings
    **{("mxnet", host): "no_mxnet_gpu" for host in GPU_HOSTS}
}


def addresses(repo, framework, path):
    """{host: address} of the hosts that make sense for the framework."""
    values = {"repo": repo, "branch": BRANCH, "path": quote(path)}
    values["quoted"] = quote(path, safe="")
    return {
        host: form.format(**values)
        for host, form in HOSTS.items()
        if (framework, host) not in ABSENT
    }


def badges(repo, framework, path):
    """The links as Markdown, for editions and the README; '' without a repository."""
    if not repo:
        return ""
    links = addresses(repo, framework, path)
    return " · ".join(f"[{host}]({address})" for host, address in links.items())


def made_beside(book, section, framework, folder, beside):
    """{key among the strings: (path, whether it is in English)}: what was made.

    A lesson and its exercises share the deck of the one, the blanks of the other.
    folder: of the notebooks in the reader's language. beside: the folder of the pages.
    """
    lesson = section.removesuffix(EXERCISES)
    own = f"{lesson}{EXERCISES}"
    names = {
        "section": section, "framework": framework, "folder": folder,
        "lesson": lesson, "exercises": own if own in book.sections else section,
    }  # fmt: skip
    found = {}
    for key, forms in BESIDE.items():
        for form in forms:
            path = form.format(**names)
            if (beside / path).is_file():
                in_english = folder == framework or "{folder}" not in form
                found.setdefault(key, (path, in_english))
    return found


def items(book, section, framework, t, up, language, repo, beside):
    """The list items of one framework, with the reason where a host is left out.

    repo: 'owner/name' on GitHub, if there is one. up: None where the page is not part
    of the book, and notebooks are not beside it. beside: the folder of the pages.
    """
    made = []
    folder = framework if language == "en" else f"{language}/{framework}"
    name = f"{folder}/{section}.ipynb"
    if repo:
        links = addresses(repo, framework, f"notebooks/{name}")
        for host in HOSTS:
            if host in links:
                made.append(f'<a href="{html.escape(links[host])}">{host}</a>')
            else:
                reason = html.escape(t[ABSENT[framework, host]].format(host=host))
                made.append(f'<span class="no">{reason}</span>')
    if up is not None:
        label = t["download_label"].format(framework=FRAMEWORKS[framework].title)
        made.append(
            f'<a href="{up}notebooks/{name}" download aria-label="{label}">'
            f"{t['download']}</a>"
        )
    if beside and up is not None:
        found = made_beside(book, section, framework, folder, beside)
        for key, (path, in_english) in found.items():
            note = ""
            if in_english and t["lang"] != "en":
                note = f' <span lang="en">({english()["language"]})</span>'
            lang = ' hreflang="en"' * bool(note)
            made.append(f'<a href="{up}{path}"{lang}>{t[key]}{note}</a>')
    page, discussions = book.textbook.get(section, ("", {}))
    if page:
        made.append(f'<a href="https://d2l.ai/{page}">{t["textbook"]}</a>')
    if framework in discussions:
        address = f"https://discuss.d2l.ai/t/{discussions[framework]}"
        made.append(f'<a href="{address}">{t["discussion"]}</a>')
    return made


def bar(book, section, titles, t, up, language, beside=None, answers=True):
    """The HTML of the buttons of a page: a list a framework, which follows the tab.

    Nothing where there are none.

    up: the way from the page to the folder of the whole book. language: that of the
    notebooks. beside: see `items`. answers: whether readers are to see the answers to
    exercises; if not, nothing leads to the repository, where they are.
    """
    lists, repo = [], up is not None and answers and book.github()
    for framework, title in titles.items():
        made = items(book, section, framework, t, up, language, repo, beside)
        if not made:
            continue
        row = "".join(f"<li>{item}</li>" for item in made)
        only = f' data-only="{framework}"' if len(titles) > 1 else ""
        label = f'<p class="label">{title}</p>\n' if only else ""
        lists.append(f"<div{only}>{label}<ul>{row}</ul></div>\n")
    if not lists:
        return ""
    label = html.escape(t["launch"])
    if language != t["lang"]:  # the text around it is English
        label += f'" lang="{t["lang"]}'
    return f'<nav class="launch" aria-label="{label}">\n{"".join(lists)}</nav>\n'
