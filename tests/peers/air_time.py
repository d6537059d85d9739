#!/usr/bin/python3
"""How long a tap was on the air, reckoned anew from the bytes on its tape.

usage: air_time.py TAPE [MILLISECONDS]

Only the frames' bytes, bits and rates are used, not their times: 5 ms of guard time, then for each frame its length in the air, the
card's frame delay time before each answer (1172/fc or 1236/fc, by the last bit that the reader sent) and the reader's before each
command (1172/fc, after an ATS its start-up guard time if that is more). Written from docs/radio.md alone. The result must be what the tape's times say, and MILLISECONDS if given.
"""
import json
import sys

FC = 13_560_000


def crc_a(data):
    crc = 0x6363
    for byte in data:
        byte ^= crc & 0xFF
        byte ^= (byte << 4) & 0xFF
        crc = (crc >> 8) ^ (byte << 8) ^ (byte << 3) ^ (byte >> 4)
        crc &= 0xFFFF
    return bytes([crc & 0xFF, crc >> 8])


def ticks_of(frame):
    """Type A: start, eight bits and parity a byte, only the bits of a byte that is cut, end."""
    bits = frame.get("bits", 8 * len(frame["bytes"]))
    whole, rest = divmod(bits, 8)
    return (1 + 9 * whole + rest + 1) * {106: 128, 212: 64, 424: 32, 848: 16}[frame["rate"]]


def last_bit(frame):
    last = frame["bytes"][-1]
    if frame.get("bits", 8) % 8:
        return last >> (frame["bits"] % 8 - 1) & 1
    return 1 - bin(last).count("1") % 2          # odd parity


def guard_time(ats):
    """SFGT: what the card wants after its ATS, by the low half of TB(1); none for 0 and 15."""
    t0 = ats[1] if ats[0] > 1 else 0
    if not t0 & 0x20:
        return 0
    sfgi = ats[3 if t0 & 0x10 else 2] & 15
    return 0 if sfgi in (0, 15) else 4096 << sfgi


def main(path, expected=None):
    lines = [json.loads(line) for line in open(path, encoding="utf-8")]
    events = [event for event in lines[1:] if event.get("layer") == "rf"]
    if not events or events[0].get("field") != "on":
        return "the tape does not begin with the field"
    frames = [dict(event, bytes=bytes.fromhex(event["data"])) for event in events if event.get("data")]
    total = 5 * FC // 1000
    before, guard = None, 0
    for number, frame in enumerate(frames, 1):
        if frame["tech"] != "A":
            return f"frame {number} is not of type A"
        if frame["crc"] == "ok" and crc_a(frame["bytes"][:-2]) != frame["bytes"][-2:]:
            return f"frame {number}: the checksum is wrong"
        if before is not None:
            if (before["dir"], frame["dir"]) == ("out", "in"):
                total += 1236 if last_bit(before) else 1172
            elif (before["dir"], frame["dir"]) == ("in", "out"):
                total += max(1172, guard)
                guard = 0
            else:
                return f"frame {number} follows one of the same side"
        total += ticks_of(frame)
        if before is not None and before["bytes"][0] == 0xE0 and frame["dir"] == "in":
            guard = guard_time(frame["bytes"])
        before = frame
    ms = total * 1000 / FC
    told = (frames[-1]["t"] - events[0]["t"]) / 1e6 + ticks_of(frames[-1]) * 1000 / FC
    size = {side: sum(len(f["bytes"]) for f in frames if f["dir"] == side) for side in ("out", "in")}
    print(json.dumps({"tape": path, "frames": len(frames), "bytes_out": size["out"], "bytes_in": size["in"],
                      "ms": round(ms, 4), "ms_by_the_tapes_times": round(told, 4)}))
    if abs(ms - told) > 0.001:
        return f"reckoned {ms:.4f} ms, and the tape's times say {told:.4f} ms"
    if expected is not None and abs(ms - float(expected)) > 0.001:
        return f"reckoned {ms:.4f} ms, and {expected} ms were said"
    return None


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    problem = main(*sys.argv[1:])
    if problem:
        sys.exit(f"{sys.argv[1]}: {problem}")
