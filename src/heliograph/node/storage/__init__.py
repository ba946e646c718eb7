"""A node's disks, its view of volumes, and the titles on them."""
