//! A user device behind chaining and GET RESPONSE, as a chip has it (answers in parts of 254 bytes).

use tapdoor_protocol::aliro::{Device, DeviceConfig};
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::apdu::chain::{Assembler, Step};
use tapdoor_protocol::door::Event;
use tapdoor_protocol::status::StatusWord;

use crate::vault::MemoryVault;

pub struct Card {
    pub device: Device,
    pub vault: MemoryVault,
    pub events: Vec<Event>,
    assembler: Assembler,
    answer: Vec<u8>,
    selected: bool,
}

impl Card {
    pub fn new(config: DeviceConfig, vault: MemoryVault) -> Self {
        Self {
            device: Device::new(config),
            vault,
            events: Vec::new(),
            assembler: Assembler::new(32 * 1024),
            answer: Vec::new(),
            selected: false,
        }
    }

    pub fn transmit(&mut self, bytes: &[u8]) -> Vec<u8> {
        let Ok(command) = Command::parse(bytes) else {
            self.device.end(&mut self.vault);
            return vec![0x67, 0x00];
        };
        let ne = command.ne as usize;
        if command.ins == 0xC0 && matches!(command.cla, 0x00 | 0x80) && !self.answer.is_empty() {
            return self.part(ne);
        }
        self.answer.clear();
        let selecting = (command.cla, command.ins, command.p1) == (0x00, 0xA4, 0x04);
        if selecting {
            self.assembler.reset();
        }
        let owned = match self.assembler.feed(&command) {
            Step::More => return vec![0x90, 0x00],
            Step::Refused(sw) => {
                self.device.end(&mut self.vault);
                return sw.to_bytes().to_vec();
            }
            Step::Whole(owned) => owned,
        };
        if selecting {
            if owned.data != [0xA0, 0x00, 0x00, 0x09, 0x09, 0xAC, 0xCE, 0x55, 0x01] {
                return vec![0x6A, 0x82];
            }
            self.selected = true;
            self.answer = self.device.select(&mut self.vault);
            return self.part(ne);
        }
        let mut out = Vec::new();
        match self
            .device
            .process(&mut self.vault, &owned.as_command(), &mut out, &mut self.events)
        {
            Ok(()) => self.answer = out,
            Err(sw) => return sw.to_bytes().to_vec(),
        }
        self.part(ne)
    }

    fn part(&mut self, ne: usize) -> Vec<u8> {
        let length = self.answer.len().min(254).min(if ne == 0 { 254 } else { ne });
        let mut part: Vec<u8> = self.answer.drain(..length).collect();
        let sw = match self.answer.len() {
            0 => StatusWord::OK,
            left @ 1..=255 => StatusWord(0x6100 | left as u16),
            _ => StatusWord(0x6100),
        };
        part.extend(sw.to_bytes());
        part
    }
}
