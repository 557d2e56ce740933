"""The commands under ``walltime measure``, one module each."""
