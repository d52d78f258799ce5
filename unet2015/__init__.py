"""The U-Net of Ronneberger, Fischer and Brox (MICCAI 2015), reproduced as published."""
