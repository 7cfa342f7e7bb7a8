"""What the numbers of one row of the fleet table mean: one process's knowledge of one candidate.

All times are readings of the monotonic clock, which the processes of one machine share; 0 is never. A row of zeros says
nothing at all, so that what nobody wrote needs no special care.
"""

# Calls in flight, by this process's own decisions.
IN_FLIGHT = 0
TOKENS_IN_FLIGHT = 1
# Since the table was made, and only ever growing; of a budget's row: what was used of it.
STARTED = 2
TOKENS_STARTED = 3
OUTCOMES = 4
FAULTS = 5
EXPIRED = 6
# Of a budget's row: USD used on day DAY (days since 1970, UTC).
USD = 7
DAY = 8

# Decayed sums of what outcomes said, as of LATENCY_AT.
LATENCY_AT = 9
FIRST_N = 10  # outcomes with a time to the first token
FIRST_SUM = 11
FIRST_SQUARES = 12
TOKENS = 13  # output tokens after the first
TOKENS_SUM = 14  # the seconds that they took
TOKENS_N = 15  # the outcomes that said so
SERVICE_N = 16  # outcomes with a time for the whole answer, less the wait that was expected
SERVICE_SUM = 17

# What this process saw since the breaker last changed (EPISODE is that change's CHANGED_AT).
EPISODE = 18
ERRORS_AT = 19
CALLS = 20  # decayed as of ERRORS_AT
ERRORS = 21
STREAK = 22  # errors in a row
STREAK_BEGAN = 23
LAST_SUCCESS = 24
PROBES = 25  # begun
PROBES_OK = 26

# The breaker's latest change that this process made. Of all processes' changes the latest is in force.
CHANGED_AT = 27
KIND = 28
UNTIL = 29
LEVEL = 30
CAUSE = 31
COOL_UNTIL = 32

# What a server said of its load at LOAD_AT.
LOAD_AT = 33
RUNNING = 34
WAITING = 35
MAX_RUNNING = 36
KV_USED = 37
FIRST_TOKEN = 38
PER_TOKEN = 39
TOKENS_RATE = 40
ERRORS_RATE = 41
IN_FLIGHT_THEN = 42  # of all processes of this sidecar
SLOTS_SEEN = 43  # most that were running while others waited

# What a provider said of its rate limits at LIMITS_AT.
LIMITS_AT = 44
LEFT_REQUESTS = 45
LEFT_TOKENS = 46
RESET_AT = 47
STARTED_THEN = 48
TOKENS_STARTED_THEN = 49

# Of the section of other sidecars: decisions that they make while this one makes one, and IN_FLIGHT_THEN is this sidecar's
# own count of when they counted.
LIKEWISE = 50

# Signs of life (see silence.py): when the last answer or first token was heard of, how many of this process's calls should
# have ended by now, how surprising it is that none did, in nats, and how often this process found that it hangs.
SIGN_AT = 51
DUE = 52
SURPRISE = 53
SUSPICIONS = 54

COLUMNS = 55

CLOSED, OPEN = 0.0, 1.0
# Why a breaker opened: calls failed, or nothing was heard of them.
ERRORS_SEEN, SILENCE = 0.0, 1.0
