"""Coarse masks by UltraLight VM-UNet, refined by SAM 2 or its stand-ins."""
