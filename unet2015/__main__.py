"""python -m unet2015: the command line for one's own stacks, as the command `unet2015`."""

from unet2015.cli.main import main

if __name__ == "__main__":
    main()
