"""What every other folder uses: files, seeds, devices, errors, components."""
