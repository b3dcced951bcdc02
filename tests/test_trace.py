from scraper.trace import Trace


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


class Steps(list):
    def step(self, phase, began, ended):
        self.append((phase, began - 100.0, ended - 100.0))

    def settled(self, *how):
        self.append(how)


def test_every_moment_belongs_to_one_phase():
    clock = Clock()
    trace = Trace(clock=clock)
    for phase, seconds in [("fetch", 1.0), ("clean", 0.5), ("wait_slot", 4.0)]:
        trace.enter(phase)
        clock.now += seconds
    trace.shift(3.0, to="wait_rate")
    assert trace.timings() == {"fetch": 1.0, "clean": 0.5, "wait_slot": 1.0, "wait_rate": 3.0}
    assert trace.total_seconds == 5.5


def test_time_inside_another_phase_is_that_phases():
    clock = Clock()
    trace = Trace(clock=clock)
    trace.enter("clean")
    clock.now += 1.0
    with trace.within("first_token"):
        clock.now += 2.0
    clock.now += 0.5
    assert trace.timings() == {"clean": 1.5, "first_token": 2.0}


def test_records_are_told_steps_one_after_the_other_and_the_end():
    clock, steps = Clock(), Steps()
    trace = Trace(clock=clock, records=[steps])
    trace.enter("wait_slot")
    clock.now += 4.0
    trace.shift(3.0, to="wait_rate")
    trace.enter("generate")
    clock.now += 2.0
    trace.end("t", "done", "")
    assert steps == [("wait_rate", 0.0, 3.0), ("wait_slot", 3.0, 4.0), ("generate", 4.0, 6.0), ("t", "done", "")]
