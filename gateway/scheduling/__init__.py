"""Who is granted which GPUs, and when: the queue's policy, in pure functions.

Start at queueing.plan. In the order of ordering (what people held lately is fairness) each of the waiting
requests is given its time by booking: in a timetable of what is taken, within her purse, on GPUs that
placement chooses, if need be those that preemption frees. standing puts it into words; needs is what a
request comes to; reserving chooses GPUs for a time to come. Must not know SQL, containers, NVML or the
clock: a backend for another kind of cluster uses it unchanged.
"""
