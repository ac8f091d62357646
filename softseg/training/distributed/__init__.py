"""Training on several processes that torchrun launches.

`torchrun --nproc-per-node N -m softseg train CONFIG` starts them. `trainer.batch_size` counts the
slices of all processes together: each process computes its part of every batch, with the
augmentation that a single process would draw for these slices, and DistributedDataParallel averages
the gradients once per update (with `trainer.accumulate`, after several batches), weighted so that
the average is the gradient of the whole batch's mean loss. So the
weights are those of a single process, except for rounding and for

- what depends on a whole batch: batch norm, NormReLU's maximum over the batch, `batch_dice: true`
  see a process's part, batch_size / N slices. Running statistics (of batch norm, of NormReLU's
  `scope: running`) are those of the first process; the others receive them at the end of an epoch.
  `norm: instance`, `scope: sample` and `batch_dice: false` compute each slice separately;
- a loss with `reduction: sum`: the sum over a process's part, averaged over processes;
- dropout: every process has its own random stream.

Validation volumes are distributed over the processes, and every process receives the results of
all, equal to the bit to those of a single process; so all stop at the same epoch.
"""
