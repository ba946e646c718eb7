"""The disks of other nodes, over TCP.

``wire`` is the framing, ``messages`` what is asked and answered, ``server`` answers from this
node's disks, ``client`` asks another node's. Layers above import these modules.
"""
