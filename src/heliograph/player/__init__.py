"""The player: buffers, flow control, retransmission, synchrony, decoders."""
