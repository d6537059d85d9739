//! A chip for tests: a card manager over SCP03, as much of one as the server needs, with a memory that outlives the agent.

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::globalplatform::command::{Delete, Install, Management, Subset};
use tapdoor_protocol::globalplatform::load_file::{Gatherer, LoadFile};
use tapdoor_protocol::globalplatform::registry::{Entry, life_cycle};
use tapdoor_protocol::globalplatform::scp03::{Card, CardChallenge, CardChannel, CardSetup, I, Keys};
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::tlv;

use crate::site::CHIP_KEY;

pub struct Chip {
    pub keys: Keys,
    sequence: u32,
    begun: Option<Card>,
    channel: Option<CardChannel>,
    pub load_files: Vec<Entry>,
    pub applications: Vec<Entry>,
    loading: Option<(Entry, Gatherer)>,
    target: Option<Aid>,
    /// Blocks stored: for an application, or for the card manager.
    pub stored: Vec<(Option<Aid>, Vec<u8>)>,
    /// How many load files were loaded, ever.
    pub loads: usize,
    /// Commands that are still answered; then the power is gone.
    pub power: Option<usize>,
}

impl Chip {
    pub fn new() -> Self {
        Self {
            keys: Keys::new(&CHIP_KEY, &CHIP_KEY, &CHIP_KEY).unwrap(),
            sequence: 0,
            begun: None,
            channel: None,
            load_files: vec![],
            applications: vec![],
            loading: None,
            target: None,
            stored: vec![],
            loads: 0,
            power: None,
        }
    }

    /// Power off and on: what was half done is gone.
    pub fn reset(&mut self) {
        (self.begun, self.channel, self.loading, self.target, self.power) = (None, None, None, None, None);
    }

    pub fn has(&self, aid: &str) -> bool {
        let aid: Aid = aid.parse().unwrap();
        self.applications
            .iter()
            .any(|entry| entry.aid == aid && entry.life_cycle == life_cycle::SELECTABLE)
    }

    /// `None`: no power.
    pub fn transmit(&mut self, apdu: &[u8]) -> Option<Vec<u8>> {
        match &mut self.power {
            Some(0) => return None,
            Some(left) => *left -= 1,
            None => {}
        }
        let command = Command::parse(apdu).unwrap();
        let sw = |sw: StatusWord| sw.to_bytes().to_vec();
        Some(match (command.cla, command.ins) {
            (0x00, 0xA4) => {
                (self.begun, self.channel, self.loading) = (None, None, None);
                sw(StatusWord::OK)
            }
            (0x80, 0x50) => {
                self.sequence += 1;
                let setup = CardSetup {
                    diversification: [0; 10],
                    kvn: 0x30,
                    i: I::DEFAULT,
                    sequence: self.sequence,
                    challenge: CardChallenge::PseudoRandom {
                        aid: Aid::CARD_MANAGER.as_bytes(),
                    },
                };
                let (card, answer) = Card::initialize_update(&self.keys, &setup, &command).unwrap();
                self.begun = Some(card);
                [answer, vec![0x90, 0x00]].concat()
            }
            (0x84, 0x82) => match self.begun.take().unwrap().external_authenticate(&command) {
                Ok(channel) => {
                    self.channel = Some(channel);
                    sw(StatusWord::OK)
                }
                Err(error) => sw(error),
            },
            _ => {
                let Some(mut channel) = self.channel.take() else {
                    return Some(sw(StatusWord::CONDITIONS_NOT_SATISFIED));
                };
                let (data, answer) = match channel.unwrap(&command) {
                    Ok(plain) => match self.manage(&Management::parse(&Command::parse(&plain).unwrap()).unwrap()) {
                        Ok(data) => (data, StatusWord::OK),
                        Err(sw) => (vec![], sw),
                    },
                    Err(error) => (vec![], error),
                };
                let answer = channel.wrap(&data, answer);
                self.channel = Some(channel);
                answer
            }
        })
    }

    fn manage(&mut self, command: &Management<'_>) -> Result<Vec<u8>, StatusWord> {
        let refused = StatusWord::CONDITIONS_NOT_SATISFIED;
        match command {
            Management::GetStatus(ask) => {
                let list = if ask.subset == Subset::LoadFiles {
                    &self.load_files
                } else {
                    &self.applications
                };
                let found: Vec<u8> = list
                    .iter()
                    .filter(|entry| entry.aid.as_bytes().starts_with(ask.aid))
                    .flat_map(Entry::encode)
                    .collect();
                if found.is_empty() {
                    Err(StatusWord::DATA_NOT_FOUND)
                } else {
                    Ok(found)
                }
            }
            Management::Install(Install::ForLoad(load)) => {
                let version = tlv::find(load.parameters, 0xCD).unwrap().to_vec();
                let entry = Entry {
                    version: Some(version),
                    ..Entry::new(load.elf, life_cycle::LOADED)
                };
                self.loading = Some((entry, Gatherer::new(100_000)));
                Ok(vec![])
            }
            Management::Load(load) => {
                let (entry, gatherer) = self.loading.as_mut().ok_or(refused)?;
                if let Some(bytes) = gatherer.push(load).map_err(|_| StatusWord::WRONG_DATA)? {
                    LoadFile::parse(&bytes).map_err(|_| StatusWord::WRONG_DATA)?;
                    let entry = entry.clone();
                    self.load_files.retain(|old| old.aid != entry.aid);
                    self.load_files.push(entry);
                    self.loading = None;
                    self.loads += 1;
                }
                Ok(vec![])
            }
            Management::Install(Install::ForInstall(install)) => {
                if self.applications.iter().any(|entry| entry.aid == install.application) {
                    return Err(refused);
                }
                self.applications.push(Entry {
                    elf: install.elf,
                    ..Entry::new(install.application, life_cycle::INSTALLED)
                });
                Ok(vec![])
            }
            Management::Install(Install::ForMakeSelectable(install)) => {
                let entry = self.applications.iter_mut().find(|entry| entry.aid == install.application);
                entry.ok_or(StatusWord::DATA_NOT_FOUND)?.life_cycle = life_cycle::SELECTABLE;
                Ok(vec![])
            }
            Management::Install(Install::ForPersonalization(aid)) => {
                self.target = Some(*aid);
                Ok(vec![])
            }
            Management::StoreData(store) => {
                self.stored.push((self.target, store.data.to_vec()));
                if store.last {
                    self.target = None;
                }
                Ok(vec![])
            }
            Management::Delete(Delete::Content { aids, related, .. }) => {
                for aid in aids {
                    self.load_files.retain(|entry| entry.aid != *aid);
                    self.applications
                        .retain(|entry| entry.aid != *aid && !(*related && entry.elf == Some(*aid)));
                }
                Ok(vec![0])
            }
            other => panic!("{other:?}"),
        }
    }
}
