"""What is told of a certificate: its row, its lines, why it is not there, whether it is waited for."""
