//! LED and buzzer of an ACR122 (ACS API manual, pseudo-APDU FF 00 40), after the verdict and outside the measured time.
//!
//! Success is `90 xx` with the state of the LEDs in xx, so 9000 must not be expected; nothing here can fail a tap.

use tapdoor_link::CardLink;

use crate::tap::TapVerdict;

/// Green for 200 ms with one beep, red twice for 100 ms with two.
fn command(verdict: TapVerdict) -> [u8; 9] {
    match verdict {
        // P2: final green off, red off; both masked; initial blinking state green; then T1, T2 in 100 ms, repetitions, buzzer during T1.
        TapVerdict::Open => [0xFF, 0x00, 0x40, 0b1010_1100, 0x04, 0x02, 0x00, 0x01, 0x01],
        TapVerdict::Refused | TapVerdict::Error => [0xFF, 0x00, 0x40, 0b0101_1100, 0x04, 0x01, 0x01, 0x02, 0x01],
    }
}

/// Both LEDs, which is orange, until the verdict: something is going on. Only to be called for a reader that is an ACR122.
pub fn show_waiting(link: &mut dyn CardLink) -> bool {
    let mut response = Vec::with_capacity(8);
    // P2: final red on, final green on; both masked; no blinking.
    let command = [0xFF, 0x00, 0x40, 0b0000_1111, 0x04, 0x00, 0x00, 0x00, 0x00];
    link.transmit(&command, &mut response).is_ok() && matches!(response.as_slice(), [0x90, _])
}

/// Shows the verdict. Only to be called for a reader that is an ACR122.
pub fn show(link: &mut dyn CardLink, verdict: TapVerdict) -> bool {
    let mut response = Vec::with_capacity(8);
    link.transmit(&command(verdict), &mut response).is_ok() && matches!(response.as_slice(), [0x90, _])
}

#[cfg(test)]
mod tests {
    use super::*;
    use tapdoor_link::Scripted;

    #[test]
    fn the_led_state_in_the_status_word_is_success() {
        assert!(show(&mut Scripted::new().answer([0x90, 0x02]), TapVerdict::Open));
        assert!(!show(&mut Scripted::new().answer([0x6E, 0x00]), TapVerdict::Refused));
    }
}
