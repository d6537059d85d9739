//! Fields that are a length and a value, as INSTALL has them (GPC 11.5.2.3, 11.1.5).
//!
//! Lengths up to 7F are one byte everywhere. Longer ones are BER (`81 xx`, `82 xx xx`) in the specification, and one plain byte in older
//! practice. Writing uses BER; reading takes all fields of a command by the one rule, or else all by the other, whichever uses up all bytes.

use alloc::vec::Vec;

/// Appends a field.
pub(super) fn write(out: &mut Vec<u8>, value: &[u8]) {
    write_length(out, value.len());
    out.extend_from_slice(value);
}

/// Appends a BER length of up to 3 bytes behind the first.
pub(super) fn write_length(out: &mut Vec<u8>, length: usize) {
    let bytes = length.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    match &bytes[zeros..] {
        [] => out.push(0),
        [short @ 0..=0x7F] => out.push(*short),
        long => {
            out.push(0x80 | long.len() as u8);
            out.extend_from_slice(long);
        }
    }
}

/// Reads a BER length: the length and what follows it.
pub(super) fn read_length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let count = match first {
        0..=0x7F => return Some((first.into(), rest)),
        0x81..=0x83 => usize::from(first & 0x7F),
        _ => return None,
    };
    let (length, rest) = rest.split_at_checked(count)?;
    Some((length.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)), rest))
}

/// Exactly `N` fields and nothing behind them.
pub(super) fn fields<const N: usize>(bytes: &[u8]) -> Option<[&[u8]; N]> {
    let plain = |bytes: &[u8]| -> Option<(usize, usize)> { Some((usize::from(*bytes.first()?), 1)) };
    let ber = |bytes: &[u8]| {
        let (length, rest) = read_length(bytes)?;
        Some((length, bytes.len() - rest.len()))
    };
    read(bytes, ber).or_else(|| read(bytes, plain))
}

fn read<const N: usize>(bytes: &[u8], length: impl Fn(&[u8]) -> Option<(usize, usize)>) -> Option<[&[u8]; N]> {
    let mut rest = bytes;
    let mut out = [&[][..]; N];
    for (n, field) in out.iter_mut().enumerate() {
        // A missing token at the very end is read as an empty one: some hosts leave it out.
        if rest.is_empty() && n + 1 == N {
            break;
        }
        let (length, header) = length(rest)?;
        (*field, rest) = rest.get(header..)?.split_at_checked(length)?;
    }
    rest.is_empty().then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn both_kinds_of_length() {
        let value = vec![0xAB; 200];
        let mut ber = vec![];
        write(&mut ber, &value);
        write(&mut ber, &[1]);
        assert_eq!(&ber[..2], [0x81, 200]);
        assert_eq!(fields::<2>(&ber), Some([&value[..], &[1]]));
        let plain = [&[200], &value[..], &[1, 1]].concat();
        assert_eq!(fields::<2>(&plain), Some([&value[..], &[1]]));
        assert_eq!(fields::<2>(&plain[..150]), None);
        assert_eq!(fields::<2>(&[1, 1, 0, 0]), None);
        assert_eq!(fields::<2>(&[1, 1]), Some([&[1][..], &[]]));
        assert_eq!(fields::<3>(&[1, 1]), None);
    }

    proptest! {
        #[test]
        fn round_trip(values: [Vec<u8>; 4], long in 0usize..70_000) {
            let mut out = vec![];
            let long = vec![7; long];
            for value in values.iter().chain([&long]) {
                write(&mut out, value);
            }
            let [a, b, c, d] = &values;
            prop_assert_eq!(fields::<5>(&out), Some([&a[..], b, c, d, &long]));
        }

        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = fields::<5>(&bytes);
            let _ = read_length(&bytes);
        }
    }
}
