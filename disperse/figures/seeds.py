"""How many seeds a number stands on, in words."""


def pair_counts(base: int, own: int, paired: int) -> str:
    """Seeds of a baseline, of what is compared with it, and of both: one number where all have as many.

    Also where one of the two has none: then nothing is paired.
    """
    if base == own == paired or not base or not own:
        return str(base or own)
    return f"{base} and {own}, paired {paired}"
