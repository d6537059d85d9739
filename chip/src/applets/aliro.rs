//! The Aliro user device.

use tapdoor_protocol::aliro::{Device, DeviceConfig, SHORT_ANSWER};
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::status::StatusWord;

use crate::applet::{ApduRules, Applet, Env};

/// The expedited phase. The step-up phase's application would stand beside it and share its session.
pub struct UserDevice {
    device: Device,
}

impl UserDevice {
    pub fn new(config: DeviceConfig) -> Self {
        Self {
            device: Device::new(config),
        }
    }
}

impl Applet for UserDevice {
    fn select(&mut self, env: &mut Env<'_>, p2: u8, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        if p2 != 0 {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        out.extend(self.device.select(&mut env.vault));
        Ok(())
    }

    fn process(&mut self, env: &mut Env<'_>, command: &Command<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        self.device.process(&mut env.vault, command, out, env.events)
    }

    fn deselect(&mut self, env: &mut Env<'_>) {
        self.device.end(&mut env.vault);
    }

    fn refused(&mut self, env: &mut Env<'_>) {
        self.device.end(&mut env.vault);
    }

    fn rules(&self) -> ApduRules {
        ApduRules {
            part: SHORT_ANSWER,
            extended: self
                .device
                .config()
                .lengths
                .map(|l| (usize::from(l.command), usize::from(l.response))),
            breaks_chain: true,
        }
    }
}
