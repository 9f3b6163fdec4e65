"""What each recorded conversation means: ms since its first event, channel, what happened to the call.

Checked by hand against the recordings: billmsec of the A leg; from answer to hang-up of the leg that took
over for e02, e03 and e04. Recordings that are not here hold no call of ours.
"""

GOLDEN = {
    "b01": """
            40 d285 offered   watch acct-1001 to 2000, acct-1001
            40 d285 ringing
           560 d285 answered
          2600 d285 ended     2040 ms by caller, NORMAL_CLEARING
    """,
    "b02": """
            20 86b6 offered   watch acct-1001 to 2500, acct-1001
            20 86b6 ringing
           520 86b6 answered
          3540 86b6 ended     3020 ms by callee, NORMAL_CLEARING
    """,
    "b03": """
            20 ffb6 offered   watch acct-1001 to 2408, acct-1001
            20 ffb6 ringing
          1540 ffb6 ended     0 ms by caller, ORIGINATOR_CANCEL
    """,
    "b04": """
            40 0ed9 offered   watch acct-1001 to n2408, acct-1001
            40 0ed9 ringing
          2720 0ed9 ended     0 ms by switch, NO_ANSWER
    """,
    "b07": """
            20 a024 offered   watch acct-1001 to 2183, acct-1001
            20 a024 ringing
          1560 a024 answered
          3600 a024 ended     2040 ms by caller, NORMAL_CLEARING
    """,
    "b08": """
            20 eea5 offered   watch acct-1001 to 2184, acct-1001
            20 eea5 ringing
          2540 eea5 ended     0 ms by caller, ORIGINATOR_CANCEL
    """,
    "b09": """
            20 5fee offered   watch acct-1001 to 2000, acct-1001
            20 5fee ringing
           520 5fee answered
          2060 5fee ended     1540 ms by caller, NORMAL_CLEARING
    """,
    "b10": """
            20 57aa offered   watch acct-1001 to 2000, acct-1001
            20 57aa ringing
           520 57aa answered
          2560 57aa ended     2040 ms by caller, NORMAL_CLEARING
    """,
    "b11": """
           540 4166 offered   watch acct-1001 to 8000, acct-1001
           540 4166 answered
          7560 4166 ended     7020 ms by caller, NORMAL_CLEARING
    """,
    "b12": """
             0 9ddd offered   watch acct-1001 to 2000, acct-1001
             0 9ddd answered
         14040 9ddd ended     14040 ms by caller, NORMAL_CLEARING
    """,
    "b13": """
            60 f6ff offered   watch acct-1001 to f2000, acct-1001
            60 f6ff ringing
           560 f6ff answered
          2600 f6ff ended     2040 ms by caller, NORMAL_CLEARING
    """,
    "b14": """
             0 d07a offered   watch acct-1001 to 7000, acct-1001
             0 d07a ringing
           540 d07a answered
          2560 d07a ended     2020 ms by caller, NORMAL_CLEARING
    """,
    "b15": """
             0 743e offered   watch acct-1001 to 1001, acct-1001
             0 743e answered
          2020 743e ended     2020 ms by caller, NORMAL_CLEARING
    """,
    "b16": """
             0 636b offered   watch acct-1001 to 1002, acct-1001
             0 636b ringing
          2000 636b answered
          4000 636b ended     2000 ms by switch, NORMAL_CLEARING
    """,
    "b20": """
             0 f396 offered   watch acct-1001 to 2000, acct-1001
             0 f396 answered
           100 b6c6 offered   watch acct-1001 to 2000, acct-1001
           100 b6c6 answered
           200 eef4 offered   watch acct-1001 to 2000, acct-1001
           200 eef4 answered
          1540 f396 ended     1540 ms by caller, NORMAL_CLEARING
          1640 b6c6 ended     1540 ms by caller, NORMAL_CLEARING
          1740 eef4 ended     1540 ms by caller, NORMAL_CLEARING
    """,
    "c01": """
             0 9609 offered   authorise acct-1001 to 2000, acct-1001
           580 9609 answered
          4100 9609 ended     3520 ms by us, ALLOTTED_TIMEOUT
    """,
    "c02": """
             0 28d1 offered   authorise acct-1001 to 2000, acct-1001
            20 28d1 ended     0 ms by switch, CALL_REJECTED
    """,
    "c03": """
             0 f1dd offered   authorise acct-1001 to 2000, acct-1001
          9600 f1dd ended     0 ms by switch, CALL_REJECTED
    """,
    "c04": """
           520 7e56 offered   watch acct-1001 to 2000, acct-1001
           520 7e56 answered
          4040 7e56 ended     3520 ms by us, ALLOTTED_TIMEOUT
    """,
    "c05": """
           540 f435 offered   watch acct-1001 to 2000, acct-1001
           540 f435 answered
          1560 f435 ended     1020 ms by us, ALLOTTED_TIMEOUT
    """,
    "c06": """
             0 3018 offered   watch acct-1001 to 2000, acct-1001
             0 3018 answered
          9020 3018 ended     9020 ms by caller, NORMAL_CLEARING
    """,
    "c07": """
             0 2a0f offered   authorise acct-1001 to 2000, acct-1001
           560 2a0f answered
          4580 2a0f ended     4020 ms by us, ALLOTTED_TIMEOUT
    """,
    "c08": """
             0 2d7e offered   watch acct-1001 to 2000, acct-1001
             0 2d7e answered
          2540 2d7e ended     2540 ms by caller, NORMAL_CLEARING
    """,
    "c10": """
             0 8808 offered   authorise acct-1001 to 2000, acct-1001
          2600 8808 ended     0 ms by switch, CALL_REJECTED
    """,
    "c11": """
             0 1ece offered   authorise acct-1001 to 2000, acct-1001
            40 4d59 offered   authorise acct-1001 to 2000, acct-1001
            80 4d59 answered
           100 e14b offered   authorise acct-1001 to 2000, acct-1001
           540 1ece answered
           640 e14b answered
          2160 4d59 ended     2080 ms by us, ALLOTTED_TIMEOUT
          3160 1ece ended     2620 ms by us, ALLOTTED_TIMEOUT
          4160 e14b ended     3520 ms by us, ALLOTTED_TIMEOUT
    """,
    "c12": """
             0 256e offered   watch acct-1001 to 9000, acct-1001
             0 256e answered
          3000 256e ended     3000 ms by us, ALLOTTED_TIMEOUT
    """,
    "c13": """
             0 60b6 offered   authorise acct-1001 to 2000, acct-1001
            20 60b6 ended     0 ms by switch, CALL_REJECTED
    """,
    "c14": """
           520 77cd offered   watch acct-1001 to 2000, acct-1001
           520 77cd answered
          1040 77cd ended     520 ms by us, ALLOTTED_TIMEOUT
    """,
    "c15": """
             0 fabb offered   watch acct-1001 to 2000, acct-1001
             0 fabb answered
           340 fabb ended     340 ms by us, ALLOTTED_TIMEOUT
    """,
    "c16": """
             0 0601 offered   watch acct-1001 to 2000, acct-1001
             0 0601 answered
          1040 0601 ended     1040 ms by us, ALLOTTED_TIMEOUT
    """,
    "d07": """
             0 5ea2 offered   watch acct-1001 to 3000, acct-1001
            20 5ea2 answered
          6600 5ea2 ended     6580 ms by us, ALLOTTED_TIMEOUT
    """,
    "d09": """
          5360 5e05 offered   watch acct-1001 to 5000, acct-1001
         -1520 5e05 answered
          5360 5e05 ended     6880 ms by switch, NORMAL_CLEARING
    """,
    "e01": """
           520 d01f offered   watch acct-1001 to 2000, acct-1001
           520 d01f answered
          4080 d01f ended     3560 ms by us, ALLOTTED_TIMEOUT
    """,
    "e02": """
           540 8de2 offered   watch acct-1001 to 2000, acct-1001
           540 8de2 answered
          2060 8de2 moved     to 0d18
          4040 8de2 ended     3500 ms by us, ALLOTTED_TIMEOUT
    """,
    "e03": """
             0 83f1 offered   watch acct-1001 to 2000, acct-1001
             0 83f1 answered
           640 228f offered   watch acct-rich to 2001, acct-rich
           640 228f answered
          1660 228f moved     to bb1e
          4160 228f ended     3520 ms by unknown, NORMAL_CLEARING
          4160 83f1 ended     4160 ms by us, ALLOTTED_TIMEOUT
    """,
    "e04": """
           520 2a83 offered   watch acct-1001 to 2000, acct-1001
           520 2a83 answered
          2060 2a83 moved     to eeeb
          4100 2a83 ended     3580 ms by us, ALLOTTED_TIMEOUT
    """,
    "e05": """
             0 6f6e offered   watch acct-1001 to 2000, acct-1001
             0 6f6e answered
          5580 6f6e ended     5580 ms by caller, NORMAL_CLEARING
    """,
    "e06": """
             0 b410 offered   watch acct-1001 to 2000, acct-1001
             0 b410 answered
          3540 b410 ended     3540 ms by us, ALLOTTED_TIMEOUT
    """,
    "e07": """
             0 5ee1 offered   watch acct-1001 to 2000, acct-1001
             0 5ee1 answered
          6060 5ee1 ended     6060 ms by us, ALLOTTED_TIMEOUT
    """,
    "e10": """
            20 5fe1 offered   watch acct-1001 to 1001, acct-1001
            20 5fe1 answered
           540 23fb offered   watch acct-1001 to 2000, acct-1001
           540 23fb answered
          1940 23fb ended     1400 ms by switch, SYSTEM_SHUTDOWN
          1940 5fe1 ended     1920 ms by switch, SYSTEM_SHUTDOWN
    """,
    "e11": """
             0 9198 offered   watch acct-1001 to 1001, acct-1001
             0 9198 answered
           520 e02c offered   watch acct-1001 to 2000, acct-1001
           520 e02c answered
    """,
    "e12": """
             0 10f1 offered   watch acct-1001 to 1001, acct-1001
             0 10f1 answered
           520 2cc7 offered   watch acct-1001 to 2000, acct-1001
           520 2cc7 answered
          1540 10f1 ended     1540 ms by switch, SYSTEM_SHUTDOWN
          1540 2cc7 ended     1020 ms by switch, SYSTEM_SHUTDOWN
    """,
    "e13": """
             0 964b offered   watch acct-1001 to 1001, acct-1001
             0 964b answered
           520 522e offered   watch acct-1001 to 2000, acct-1001
           520 522e answered
    """,
    "e14": """
            20 e007 offered   watch acct-1001 to 1001, acct-1001
            20 e007 answered
           540 c4ee offered   watch acct-1001 to 2000, acct-1001
           540 c4ee answered
          3660 0583 offered   watch acct-1001 to 1001, acct-1001
          3660 0583 answered
          4040 e007 ended     4020 ms by switch, NORMAL_CLEARING
          4060 0583 ended     400 ms by switch, NORMAL_CLEARING
          4060 c4ee ended     3520 ms by switch, NORMAL_CLEARING
    """,
    "e16_resync_part1": """
           520 00d5 offered   watch acct-rich to 2000, acct-rich
           520 00d5 answered
           520 01ab offered   watch acct-1001 to 2000, acct-1001
           520 01ab answered
    """,
    "e16_resync_part2": """
             0 01ab offered   watch acct-1001 to 2000, acct-1001
         -8040 01ab answered
             0 01ab ended     8040 ms by caller, NORMAL_CLEARING
    """,
    "f01": """
            20 c6cf offered   watch acct-1001 to 6000, acct-1001
            20 c6cf answered
         10980 c6cf ended     10960 ms by us, ALLOTTED_TIMEOUT
    """,
    "f02": """
             0 893d offered   watch acct-zero to 6000, acct-zero
             0 893d answered
          1581 893d ended     1581 ms by us, ALLOTTED_TIMEOUT
    """,
    "g01": """
             0 adb1 offered   watch acct-1001 to 1001, acct-1001
             0 adb1 answered
          1000 adb1 ended     1000 ms by caller, NORMAL_CLEARING
    """,
}
