"""MiniGrid's level families with rules of ours, and a ladder of tasks from easy to hard. Data only."""

FAMILIES = {
    "Empty": "",
    "DoorKey": "doors",
    "Unlock": "doors",
    "UnlockPickup": "doors",
    "FourRooms": "gaps",
    "LavaGap": "",
    "LavaCrossing": "",
    "SimpleCrossing": "",
    "MultiRoom": "doors",
    "KeyCorridor": "doors",
    "ObstructedMaze": "doors",
    "Memory": "gaps",
}
"""Level families whose rules are written here -> the borders between their rooms."""
LADDER = {
    "empty-8x8": "Empty-8x8-v0",
    "empty-random-6x6": "Empty-Random-6x6-v0",
    "doorkey-5x5": "DoorKey-5x5-v0",
    "doorkey-6x6": "DoorKey-6x6-v0",
    "doorkey-8x8": "DoorKey-8x8-v0",
    "unlock": "Unlock-v0",
    "unlockpickup": "UnlockPickup-v0",
    "fourrooms": "FourRooms-v0",
    "lavacrossing-s9n2": "LavaCrossingS9N2-v0",
    "simplecrossing-s9n2": "SimpleCrossingS9N2-v0",
    "multiroom-n2-s4": "MultiRoom-N2-S4-v0",
    "multiroom-n4-s5": "MultiRoom-N4-S5-v1",
    "multiroom-n6": "MultiRoom-N6-v0",
    "keycorridor-s3r1": "KeyCorridorS3R1-v0",
    "keycorridor-s3r2": "KeyCorridorS3R2-v0",
    "keycorridor-s3r3": "KeyCorridorS3R3-v0",
    "keycorridor-s4r3": "KeyCorridorS4R3-v0",
    "obstructedmaze-1dlh": "ObstructedMaze-1Dlh-v0",
    "obstructedmaze-2dlhb": "ObstructedMaze-2Dlhb-v1",
    "obstructedmaze-full": "ObstructedMaze-Full-v1",
    "memory-s7": "MemoryS7-v0",
    "memory-s11": "MemoryS11-v0",
    "memory-s13-random": "MemoryS13Random-v0",
}
"""Tasks from easy to hard for a policy without a bonus: name -> minigrid's id without its prefix. Those of memory come
last: a policy without one gets no further than a guess."""
PICKUP_TOGGLES = ("Memory",)
"""Families in which the action pickup does what toggle does, and nothing is ever carried."""
