"""The processor and the GPUs, as the textbook asks for them (section 6.7).

Written once: a framework's device.py says how it finds them, in a subclass.
"""

from typing import Any

from d2l_utils import host
from d2l_utils.base import check_whole

OF_A_FRAMEWORK = "A framework's device.py defines it."


class Devices:
    """The devices of a framework.

    A subclass defines cpu, num_gpus and gpu, split_cpu, and for memory gpu_memory and
    reset_gpu_peak.
    """

    virtual = ()  # parts of the processor that stand for GPUs, see `virtual_devices`

    def cpu(self) -> Any:
        """The processor as a device.

        Returns:
            A device of this framework.

        Example:
            >>> d2l.cpu()
        """
        raise NotImplementedError(OF_A_FRAMEWORK)

    def num_gpus(self) -> int:
        """Number of GPUs that this framework can use here.

        Returns:
            0 where there is none.

        Example:
            >>> d2l.num_gpus()
        """
        raise NotImplementedError(OF_A_FRAMEWORK)

    def gpu(self, i: int = 0) -> Any:
        """GPU number i as a device.

        Parameters:
            i: from 0.

        Returns:
            A device of this framework.

        Raises:
            IndexError: in JAX, where it is not there. The other frameworks complain
                when it is first used.

        Example:
            >>> d2l.gpu()
        """
        raise NotImplementedError(OF_A_FRAMEWORK)

    def try_gpu(self, i: int = 0) -> Any:
        """GPU number i if it is there, else the processor.

        Parameters:
            i: from 0.

        Returns:
            A device of this framework.

        Example:
            >>> X = X.to(d2l.try_gpu())  # in PyTorch
        """
        return self.gpu(i) if self.num_gpus() > i else self.cpu()

    def try_all_gpus(self) -> list:
        """All GPUs in a list, or the processor alone where there are none.

        Returns:
            Devices of this framework.

        Example:
            >>> len(d2l.try_all_gpus())
        """
        return [self.gpu(i) for i in range(self.num_gpus())] or [self.cpu()]

    def virtual_devices(self, n: int) -> None:
        """Let the processor stand for n GPUs from now on, where there are none.

        A Trainer with `num_gpus=n` then trains as on n GPUs, on any computer: no
        faster, but what several GPUs do can be tried and looked at. Call it right after
        the imports.

        Parameters:
            n: how many.

        Raises:
            ValueError: n is no whole number, or less than 1.
            RuntimeError: in JAX and TensorFlow, after they have computed something.

        Example:
            >>> d2l.virtual_devices(2)
            >>> trainer = d2l.Trainer(max_epochs=1, num_gpus=2)
        """
        check_whole("n", n, 1)
        try:
            self.virtual = self.split_cpu(n)
        except RuntimeError as error:
            raise RuntimeError(
                "The processor can be split only before its first use: restart Python, "
                "or the kernel, and call virtual_devices right after the imports."
            ) from error

    def for_training(self) -> list:
        """The devices that can share one training: the GPUs, or else virtual ones."""
        return [self.gpu(i) for i in range(self.num_gpus())] or [*self.virtual]

    def split_cpu(self, n):
        """n parts of the processor as devices; RuntimeError if it is in use."""
        raise NotImplementedError(OF_A_FRAMEWORK)

    def memory_stats(self) -> dict:
        """Memory in use: that of the first GPU, or without one, of this process.

        Returns:
            {'peak_bytes': the most since the peak was last reset, 'current_bytes': now,
            'of': what was measured, in words}. MXNet gives no GPU memory back by
            itself, so that there both numbers are the same.

        Example:
            >>> d2l.memory_stats()["peak_bytes"]
        """
        found = self._known()
        if found is None:
            return host.process_memory()
        return dict(zip(("peak_bytes", "current_bytes", "of"), found))

    def reset_peak_memory(self) -> None:
        """Let the peak of `memory_stats` begin anew, where that can be done.

        It cannot for a GPU in JAX, nor for a process on macOS and Windows.

        Example:
            >>> d2l.reset_peak_memory()
        """
        if self._known() is None:
            host.reset_process_peak()
        else:
            self.reset_gpu_peak()

    def _known(self):
        return self.gpu_memory() if self.num_gpus() else None

    def gpu_memory(self):
        """(peak bytes, current bytes, what was measured) of the first GPU, or None."""
        return None

    def reset_gpu_peak(self):
        """Let the peak of `gpu_memory` begin anew."""
