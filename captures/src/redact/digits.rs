//! Numbers of subscribers and devices: digits stay digits, and where a number ends with a Luhn digit it still does.

use tapdoor_protocol::ids;

use super::Maker;

/// The value and the forms in which it may stand elsewhere, each with its replacement.
pub(super) fn replacements(maker: &Maker, kind: &str, value: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    match kind {
        _ if value.is_empty() || value.iter().all(|byte| *byte == 0) => Vec::new(),
        _ if value.len() >= 6 && value.iter().all(u8::is_ascii_digit) => {
            let other = fake(maker, kind, value);
            vec![(value.to_vec(), other)]
        }
        // Length, and a parity nibble that belongs to the number's form.
        "imsi" => match value {
            [length, rest @ ..] if usize::from(*length) <= rest.len() && *length > 1 => {
                let (number, filler) = rest.split_at((*length).into());
                let digits = swapped(number);
                let Some((form, digits)) = digits.split_first() else {
                    return Vec::new();
                };
                let other = fake(maker, kind, digits);
                let coded = [&[*length][..], &coded(&[&[*form][..], &other].concat(), number.len()), filler].concat();
                vec![(value.to_vec(), coded), (only_digits(digits), only_digits(&other))]
            }
            _ => plain(maker, value),
        },
        "iccid" => {
            let digits = swapped(value);
            let other = fake(maker, kind, &digits);
            vec![(value.to_vec(), coded(&other, value.len())), (only_digits(&digits), only_digits(&other))]
        }
        "msisdn" if value.len() >= 14 => {
            let (name, record) = value.split_at(value.len() - 14);
            let name: Vec<u8> = name.iter().map(|byte| if *byte == 0xFF { 0xFF } else { b'x' }).collect();
            let digits = swapped(&record[2..12]);
            let other = fake(maker, kind, &digits);
            let whole = [&name[..], &record[..2], &coded(&other, 10), &record[12..]].concat();
            vec![(value.to_vec(), whole), (only_digits(&digits), only_digits(&other))]
        }
        // Kind, length and digits of an identity in the clear stand before it; the CMAC behind it is a cryptogram.
        "identity" => {
            let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let (number, rest) = value.split_at(digits);
            let mut all = Vec::new();
            if number.len() >= 6 {
                all.push((number.to_vec(), fake(maker, kind, number)));
            }
            all.extend(plain(maker, rest));
            all
        }
        "pin" => {
            let other: Vec<u8> = maker.stream(kind, value, value.len()).iter().zip(value).map(|(random, was)| match was {
                b'0'..=b'9' => b'0' + random % 10,
                was => *was,
            }).collect();
            vec![(value.to_vec(), other)]
        }
        _ => plain(maker, value),
    }
}

fn plain(maker: &Maker, value: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    match value.is_empty() {
        true => Vec::new(),
        false => vec![(value.to_vec(), maker.bytes(value))],
    }
}

/// The digits of a number with swapped nibbles, as characters; F and the like as they are.
fn swapped(value: &[u8]) -> Vec<u8> {
    let character = |nibble: u8| char::from_digit(nibble.into(), 16).map_or(b'f', |c| c as u8);
    value.iter().flat_map(|byte| [character(byte & 15), character(byte >> 4)]).collect()
}

/// The way back.
fn coded(digits: &[u8], length: usize) -> Vec<u8> {
    let nibble = |at: usize| digits.get(at).and_then(|c| (*c as char).to_digit(16)).unwrap_or(15) as u8;
    (0..length).map(|at| nibble(2 * at + 1) << 4 | nibble(2 * at)).collect()
}

fn only_digits(digits: &[u8]) -> Vec<u8> {
    digits.iter().copied().filter(u8::is_ascii_digit).collect()
}

/// Another number of the same length. The first digits, which name a country or a maker of none in particular, stay.
fn fake(maker: &Maker, kind: &str, digits: &[u8]) -> Vec<u8> {
    let number = only_digits(digits);
    // One number has one replacement, whatever it is called.
    let random = maker.stream("digits", &number, number.len());
    let keep = match kind {
        "imsi" => 3,
        _ => 2,
    };
    let luhn = |number: &[u8]| std::str::from_utf8(number).is_ok_and(ids::luhn_holds);
    let mut other: Vec<u8> = number.iter().zip(&random).enumerate().map(|(n, (digit, random))| if n < keep { *digit } else { b'0' + random % 10 }).collect();
    if number.len() > 4
        && luhn(&number)
        && let Some(last) = other.len().checked_sub(1)
    {
        for digit in b'0'..=b'9' {
            other[last] = digit;
            if luhn(&other) {
                break;
            }
        }
    }
    // Back between what is no digit.
    let mut other = other.into_iter();
    digits.iter().map(|byte| if byte.is_ascii_digit() { other.next().unwrap_or(*byte) } else { *byte }).collect()
}
