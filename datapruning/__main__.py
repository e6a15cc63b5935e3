"""`python -m datapruning` is `dprune`; so is `torchrun -m datapruning`."""

from datapruning.cli.main import main

if __name__ == "__main__":
    main()
