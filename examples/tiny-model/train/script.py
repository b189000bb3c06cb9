"""What is said in the training data, and by whom: espeak-ng voices, the dialogue script, and
sentences generated from word lists."""

import random

# ---- voices

# The voice of the model itself is fixed.
MOSHI_VOICE = ("en-us", 140, 45)  # (espeak voice, words per minute, pitch 0..99)

USER_BASES = ["en", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-029"]
USER_VARIANTS = ["", "m1", "m3", "m4", "m7", "f1", "f2", "f3", "f5", "Andy", "Annie", "Michael"]
# Never used in training, neither for the codec nor for the LM.
HELDOUT_BASES = ["en-gb-x-gbclan", "en", "en-us"]
HELDOUT_VARIANTS = ["m2", "f4", "Alex", "linda"]


def random_user_voice(rng: random.Random, heldout: bool = False):
    base = rng.choice(HELDOUT_BASES if heldout else USER_BASES)
    variant = rng.choice(HELDOUT_VARIANTS if heldout else USER_VARIANTS)
    name = base + ("+" + variant if variant else "")
    return name, rng.randint(125, 185), rng.randint(25, 75)

# ---- dialogue script: intent -> (things the user may say, what the model replies)

DIALOGUE = {
    "hello": (["hello", "hello moshi", "hi there", "hello there", "good morning", "hey moshi"],
              "Hello! Nice to meet you."),
    "name": (["what is your name", "what's your name", "who are you", "tell me your name"],
             "My name is Moshi."),
    "time": (["what time is it", "what's the time", "do you know what time it is",
              "tell me the time please"],
             "It is time for a cup of tea."),
    "how": (["how are you", "how are you today", "how do you do", "how is it going"],
            "I am very well, thank you."),
    "joke": (["tell me a joke", "do you know a joke", "make me laugh", "say something funny"],
             "Why was the robot tired? It had a hard drive."),
    "help": (["what can you do", "can you help me", "help me please", "how does this work"],
             "I can listen and speak at the same time."),
    "thanks": (["thank you", "thanks a lot", "thank you very much", "many thanks"],
               "You are welcome."),
    "bye": (["goodbye", "bye bye", "see you later", "good night"],
            "Goodbye! See you soon."),
}
UNKNOWN_REPLY = "Sorry, I did not understand."
REPLIES = {k: v[1] for k, v in DIALOGUE.items()} | {"unknown": UNKNOWN_REPLY}

# ---- corpus

NOUNS = """apple bridge candle dog engine forest garden hammer island jacket kettle ladder mountain
needle orange pocket queen river shadow teacher umbrella village window yellow zebra baby chair
doctor elephant finger guitar house ice juice king lemon mother north ocean paper question rabbit
school table uncle voice water box year zoo bird cheese dream earth flower glass heart idea judge
kitchen light moon night office picture road ship thunder unicorn valley wheel boat cloud door
fire ghost hat ink jungle key lamp machine noise owl plane quilt radio star train tower vision
measure leather weather feather brother thing thumb church joke pleasure summer winter spring
autumn morning evening computer music story letter number language""".split()
VERBS = """watches follows carries builds opens closes paints finds hides brings throws catches
remembers forgets loves hates needs wants helps hears sees touches cleans breaks moves pushes
pulls shows takes gives eats drinks sells buys joins leaves chooses measures enjoys uses""".split()
ADJS = """red blue green small large old young quick slow happy sad quiet loud bright dark heavy
strange simple early late warm cold sharp smooth rough tiny huge brave lazy wise rich poor thick
thin usual golden silver wooden broken hidden foggy rainy noisy joyful gentle""".split()
ADVS = """today tomorrow yesterday quickly slowly again never always sometimes often here there
outside inside now later together alone carefully happily""".split()
NUMS = """one two three four five six seven eight nine ten eleven twelve thirteen twenty thirty
forty fifty a hundred""".split()
FIXED = """The quick brown fox jumps over the lazy dog.
She sells sea shells by the sea shore.
How much wood would a woodchuck chuck?
Please speak a little more slowly.
The weather is very nice this morning.
I would like a cup of coffee with milk.
Where is the nearest train station?
My favourite colour is orange.
We went to the cinema last Friday.
Could you open the window, please?
They have been waiting for an hour.
A pleasure to hear your voice again.
This is a very small speech model.
It runs on a small computer.
Nothing is impossible to a willing heart.
The judge enjoyed the fresh orange juice.
You should visit us in the summer.
Turn left at the next corner.
The children are playing in the garden.
What do you think about that?""".split("\n")


def random_sentence(rng: random.Random) -> str:
    n, v, a = (lambda: rng.choice(NOUNS)), (lambda: rng.choice(VERBS)), (lambda: rng.choice(ADJS))
    forms = [
        lambda: f"the {a()} {n()} {v()} the {n()}",
        lambda: f"the {n()} {v()} a {a()} {n()} {rng.choice(ADVS)}",
        lambda: f"my {n()} {v()} {rng.choice(NUMS)} {n()}s",
        lambda: f"is the {n()} {a()} or {a()}",
        lambda: f"where is the {a()} {n()}",
        lambda: f"I think that the {n()} is {a()}",
        lambda: f"we saw {rng.choice(NUMS)} {n()}s near the {n()}",
        lambda: f"{rng.choice(ADVS)} the {n()} {v()} your {n()}",
        lambda: f"this {n()} was {a()} and that {n()} was {a()}",
        lambda: f"{n()}, {n()} and {n()}",
        lambda: rng.choice(FIXED),
    ]
    s = rng.choice(forms)()
    return s[0].upper() + s[1:] + ("" if s[-1] in ".?!" else ".")


def random_unknown(rng: random.Random) -> str:
    """A short user utterance outside of the dialogue script."""
    n, a = rng.choice(NOUNS), rng.choice(ADJS)
    return rng.choice([
        f"where is the {n}", f"I like the {a} {n}", f"the {n} is {a}", f"do you have a {n}",
        f"give me the {n}", f"a {a} {n}", f"is the {n} {a}", f"{rng.choice(NUMS)} {n}s",
        f"I saw a {n} {rng.choice(ADVS)}", f"the {n} {rng.choice(VERBS)} the {n}",
    ])
