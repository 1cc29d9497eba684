"""Frames: of pictures, video files and cameras, one after another; and videos written."""
