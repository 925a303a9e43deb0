def test_the_unfinished_events_of_all_answers_together_are_bounded() -> None:
    backlog = Backlog(300_000)
    answers = [Answer(CONTEXT, Budget(Clocks()), backlog=backlog) for _ in range(4)]
    for answer in answers:
        answer.receive(frame_of({"content": "a"}), 0.0)
        while answer.next() is not None:
            pass
        for _ in range(10):
            answer.receive(b"x" * 10_000, 0.0)
            assert answer.next() is None
    given_up = [answer for answer in answers if answer.over]
    assert 1 <= len(given_up) < 4
    assert isinstance(given_up[0].failure, ProtocolError)
    assert "max_event_size" in str(given_up[0].failure)
    assert backlog.held <= backlog.limit
    for answer in answers:
        answer.close()
    assert backlog.held == 0


def test_what_has_become_whole_is_no_backlog() -> None:
    backlog = Backlog(100_000)
    answer = Answer(CONTEXT, Budget(Clocks()), backlog=backlog)
    for _ in range(50):
        wire = frame_of({"content": "a" * 60_000})
        answer.receive(wire[:50_000], 0.0)
        answer.next()
        assert backlog.held > 40_000
        answer.receive(wire[50_000:], 0.0)
        assert answer.next() is not None
        assert answer.next() is None
        assert backlog.held == 0
