"""What ``helio placement bench`` is made of: ``scenario`` makes tables of disks that come and go,
``measure`` lets each policy place blocks by them and counts. Pure but for the clock that is
passed in.
"""
