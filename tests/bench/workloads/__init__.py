"""What is measured: NAME -> (title, function). A function takes a Bench and yields Rows, which it
fills afterwards: when it fails, what it had measured is kept."""
from workloads import busy, cold, large, loopback, remote, warm

ALL = {
    "cold": ("Cold: search what was never read", cold.cold),
    "warm": ("Warm: search what is kept here", warm.warm),
    "walk": ("Walk: find, ls -lR, du", warm.walk),
    "large": ("Large: a mailbox of 100,000", large.large),
    "million": ("Huge: a mailbox of 1,000,000", large.million),
    "remote": ("Against a network file system", remote.remote),
    "busy": ("While a large attachment is copied", busy.busy),
    "loopback": ("No link to hide behind: loopback", loopback.loopback),
}
LONG = ("million",)  # only when named
