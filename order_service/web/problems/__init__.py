"""Every error as a problem document (RFC 9457), and the catalogue of its types."""
