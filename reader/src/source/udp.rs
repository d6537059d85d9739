//! `udp:HOST:PORT`: the polling side of nfcpy's UDP format.

use std::time::Instant;

use super::radio::{Device, Polling, RadioSource};
use super::{ReaderInfo, SourceError, SourceErrorKind};
use crate::udp::UdpField;

/// Whoever listens at an address.
#[derive(Debug)]
pub struct UdpDevice {
    address: String,
}

impl Device for UdpDevice {
    type Radio = UdpField;

    fn open(&mut self, epoch: Instant) -> Result<UdpField, SourceError> {
        UdpField::connect(&self.address, epoch).map_err(|e| {
            SourceError::new(
                SourceErrorKind::Address,
                self.layer(),
                format!("cannot send to {}: {e}", self.address),
            )
        })
    }

    fn describe(&self) -> ReaderInfo {
        ReaderInfo {
            name: format!("udp {}", self.address),
            driver: "udp",
            firmware: None,
            mode: "raw",
            listen: None,
            is_acr122: false,
        }
    }

    fn layer(&self) -> &'static str {
        "udp"
    }
}

/// A reader that finds whoever listens at `address` (HOST:PORT).
///
/// # Errors
/// `Address` if there is no such address.
pub fn open(address: &str, polling: Polling) -> Result<RadioSource<UdpDevice>, SourceError> {
    let device = UdpDevice {
        address: address.to_owned(),
    };
    // A listener has one technology, and says nothing to the others: each would cost the whole waiting time.
    let polling = Polling { type_b: false, ..polling };
    RadioSource::open(device, polling)
}
