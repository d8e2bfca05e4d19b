"""Tables at a terminal."""

from order_service.infra.terminal import aligned


def test_cells_are_aligned_with_their_heads_and_numbers_to_the_right() -> None:
    table = aligned(("name", "events", "lag"), [("relay", 7, None), ("order_view", 12_000, 0.5)])

    assert table.splitlines() == [
        "name        events  lag",
        "relay            7    -",
        "order_view   12000  0.5",
    ]


def test_control_characters_in_a_cell_are_escaped() -> None:
    table = aligned(("note",), [("one\r\ntwo\x1b[2J",)])

    assert table.splitlines() == ["note", r"one\r\ntwo\x1b[2J"]
