"""One pass: read everything, judge each certificate, launch."""
