//! The other end of the card manager: SCP03, load files, list entries.
#![allow(dead_code, missing_docs, clippy::unwrap_used, clippy::panic)]

use tapdoor_chip::personalise::Secret;
use tapdoor_chip::{CardManager, Chip, ListEntry, Personalisation, ScpKeys};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::crypto::{ecies, sign};
use tapdoor_protocol::globalplatform::command::{Delete, GetStatus, Install, InstallForInstall, InstallForLoad, LoadParameters, Subset};
use tapdoor_protocol::globalplatform::load_file::{self, LoadFile};
use tapdoor_protocol::globalplatform::registry::{self, Privileges};
use tapdoor_protocol::globalplatform::scp03::{self, Keys, Level};
use tapdoor_protocol::tlv;
use tapdoor_protocol::vault::Slot;

pub const KVN: u8 = 0x30;
const PROVIDER: [u8; 32] = [7; 32];

/// By which way a host talks to the chip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    Wired,
    Field,
}

pub fn keys() -> Keys {
    Keys::new(&[0x11; 16], &[0x22; 16], &[0x33; 16]).unwrap()
}

pub fn scp_keys(kvn: u8, keys: &Keys) -> ScpKeys {
    let [enc, mac, dek] = keys.in_order().map(Secret::new);
    ScpKeys { kvn, enc, mac, dek }
}

pub fn card_manager() -> CardManager {
    CardManager::new(scp_keys(KVN, &keys()))
}

pub fn managed(mut personalisation: Personalisation) -> Personalisation {
    personalisation.card_manager = Some(card_manager());
    personalisation
}

/// One exchange, 61xx followed.
pub fn exchange(chip: &mut Chip, way: Way, command: &[u8]) -> Vec<u8> {
    let mut send = |command: &[u8]| {
        let mut response = Vec::new();
        match way {
            Way::Wired => chip.process_wired(command, &mut response),
            Way::Field => chip.process(command, &mut response),
        }
        response
    };
    let mut response = send(command);
    while response[response.len() - 2] == 0x61 {
        let le = response[response.len() - 1];
        response.truncate(response.len() - 2);
        response.extend(send(&[0x00, 0xC0, 0, 0, le]));
    }
    response
}

pub fn sw(response: &[u8]) -> u16 {
    u16::from_be_bytes(*response.last_chunk().unwrap())
}

pub fn select_manager() -> Vec<u8> {
    Command::new(0, 0xA4, 4, 0)
        .data(Aid::CARD_MANAGER.as_bytes())
        .ne(256)
        .encode()
        .unwrap()
}

/// A host with an open secure channel.
#[derive(Debug)]
pub struct Host {
    pub channel: scp03::Channel,
    pub way: Way,
    pub dek: Keys,
}

impl Host {
    /// SELECT, INITIALIZE UPDATE, EXTERNAL AUTHENTICATE. The error is a status word.
    pub fn try_open(chip: &mut Chip, way: Way, keys: &Keys, kvn: u8, level: Level) -> Result<Self, u16> {
        let selected = sw(&exchange(chip, way, &select_manager()));
        if selected != 0x9000 && selected != 0x6283 {
            return Err(selected);
        }
        let (host, command) = scp03::Host::initialize_update(kvn, [0x5A; 8]);
        let answer = exchange(chip, way, &command);
        if sw(&answer) != 0x9000 {
            return Err(sw(&answer));
        }
        let (command, channel) = host.authenticate(keys, &answer, level).map_err(|_| 0u16)?;
        match sw(&exchange(chip, way, &command)) {
            0x9000 => Ok(Self {
                channel,
                way,
                dek: keys.clone(),
            }),
            sw => Err(sw),
        }
    }

    pub fn open(chip: &mut Chip) -> Self {
        Self::try_open(chip, Way::Wired, &keys(), KVN, Level::FULL).unwrap()
    }

    pub fn open_by(chip: &mut Chip, way: Way, level: Level) -> Self {
        Self::try_open(chip, way, &keys(), KVN, level).unwrap()
    }

    /// Wraps a command, sends it and unwraps the answer: data and status word.
    pub fn ask(&mut self, chip: &mut Chip, command: &[u8]) -> (Vec<u8>, u16) {
        let wrapped = self.channel.wrap(&Command::parse(command).unwrap()).unwrap();
        let response = exchange(chip, self.way, &wrapped.command);
        let mut plain = self.channel.unwrap(wrapped.ticket, &response).unwrap();
        let sw = sw(&plain);
        plain.truncate(plain.len() - 2);
        (plain, sw)
    }

    pub fn sw(&mut self, chip: &mut Chip, command: &[u8]) -> u16 {
        self.ask(chip, command).1
    }

    pub fn install(&mut self, chip: &mut Chip, install: &Install<'_>) -> u16 {
        self.sw(chip, &install.encode().unwrap())
    }

    /// INSTALL [for load] and all LOAD blocks; the first status word that is not 9000.
    pub fn load(&mut self, chip: &mut Chip, load: &Load) -> u16 {
        for command in load.commands(self.channel.max_command_data()) {
            let sw = self.sw(chip, &command);
            if sw != 0x9000 {
                return sw;
            }
        }
        0x9000
    }

    /// INSTALL [for install and make selectable].
    pub fn make(&mut self, chip: &mut Chip, module: &Aid, aid: &Aid) -> u16 {
        self.install(chip, &Install::ForInstallAndMakeSelectable(for_install(module, aid)))
    }

    pub fn store(&mut self, chip: &mut Chip, blocks: &[Vec<u8>]) -> u16 {
        for (number, block) in blocks.iter().enumerate() {
            let sw = self.sw(chip, &store_data(number, number + 1 == blocks.len(), block));
            if sw != 0x9000 {
                return sw;
            }
        }
        0x9000
    }

    /// INSTALL [for personalization] and STORE DATA.
    pub fn personalise(&mut self, chip: &mut Chip, aid: &Aid, blocks: &[Vec<u8>]) -> u16 {
        match self.install(chip, &Install::ForPersonalization(*aid)) {
            0x9000 => self.store(chip, blocks),
            sw => sw,
        }
    }

    pub fn delete(&mut self, chip: &mut Chip, aid: &Aid, related: bool) -> u16 {
        let delete = Delete::Content {
            aids: vec![*aid],
            related,
            token: &[],
        };
        self.sw(chip, &delete.encode().unwrap())
    }

    /// GET STATUS, all parts; nothing when there is nothing.
    pub fn status(&mut self, chip: &mut Chip, subset: Subset) -> Vec<registry::Entry> {
        let mut out = Vec::new();
        let mut request = GetStatus::all(subset);
        loop {
            let (data, sw) = self.ask(chip, &request.encode().unwrap());
            out.extend(registry::parse_status(&data).unwrap());
            match sw {
                0x6310 => request.next = true,
                0x9000 | 0x6A88 => return out,
                sw => panic!("{sw:04x}"),
            }
        }
    }

    pub fn state(&mut self, chip: &mut Chip, aid: &Aid) -> Option<u8> {
        let all = self.status(chip, Subset::Applications);
        all.iter().find(|e| e.aid == *aid).map(|e| e.life_cycle)
    }

    pub fn version(&mut self, chip: &mut Chip, elf: &Aid) -> Option<Vec<u8>> {
        let all = self.status(chip, Subset::LoadFiles);
        all.into_iter().find(|e| e.aid == *elf)?.version
    }

    /// `C0{slot || key}`.
    pub fn key(&self, slot: Slot, key: &[u8]) -> Vec<u8> {
        self.key_in(slot as u8, key)
    }

    pub fn key_in(&self, slot: u8, key: &[u8]) -> Vec<u8> {
        let value = [&[slot][..], &self.dek.dek_encrypt(key).unwrap()].concat();
        object(0xC0, &value)
    }

    /// `E5{..}`.
    pub fn entry(&self, entry: &ListEntry) -> Vec<u8> {
        let mut inner = object(0x80, &entry.phone.0);
        inner.extend(object(0x90, &[entry.weakest as u8]));
        inner.extend(object(0x91, &entry.not_after.to_be_bytes()));
        inner.extend(object(0x92, &[entry.flags]));
        let keys = [
            (0x93, Some(&entry.k_id)),
            (0x94, Some(&entry.k_l)),
            (0x95, entry.milenage.as_ref()),
            (0x96, entry.tuak.as_ref()),
        ];
        for (tag, key) in keys {
            if let Some(key) = key {
                inner.extend(object(tag, &self.dek.dek_encrypt(key.expose()).unwrap()));
            }
        }
        object(0xE5, &inner)
    }
}

pub fn object(tag: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    tlv::write(&mut out, tag, value);
    out
}

pub fn store_data(number: usize, last: bool, block: &[u8]) -> Vec<u8> {
    let p1 = if last { 0x90 } else { 0x10 };
    Command::new(0x80, 0xE2, p1, number as u8).data(block).ne(256).encode().unwrap()
}

/// AIDs of load files for tests: number `n`.
pub fn elf(n: u8) -> Aid {
    Aid::new(&[b"\xF0TAPDOOR\xB0", &[n][..]].concat()).unwrap()
}

/// The module of that load file.
pub fn module_of(n: u8) -> Aid {
    Aid::new(&[b"\xF0TAPDOOR\xB0", &[n, 1][..]].concat()).unwrap()
}

pub fn for_install<'a>(module: &Aid, aid: &Aid) -> InstallForInstall<'a> {
    let elf = Aid::new(&module.as_bytes()[..module.as_bytes().len() - 1]).unwrap();
    InstallForInstall {
        elf: Some(elf),
        module: Some(*module),
        application: *aid,
        privileges: Privileges::NONE,
        parameters: &[0xC9, 0],
        token: &[],
    }
}

/// The public half of the provider's key, compressed.
pub fn provider() -> Vec<u8> {
    ecies::public_compressed(&ecies::SecretScalar(PROVIDER)).unwrap().to_vec()
}

/// A module that answers every command with `answer` and says that it is this load file in this version.
pub fn code(elf: &Aid, modules: &[&Aid], version: [u8; 2], answer: &[u8]) -> Vec<u8> {
    let text = |bytes: &[u8]| bytes.iter().map(|b| format!("\\{b:02x}")).collect::<String>();
    let mut section = [object(0x80, &[1]), object(0x4F, elf.as_bytes()), object(0x81, &version)].concat();
    for (entry, module) in (1u8..).zip(modules) {
        let inner = [
            object(0x4F, module.as_bytes()),
            object(0x82, &[entry]),
            object(0x83, &[1]),
            object(0x84, b"test"),
        ];
        section.extend(object(0xE1, &inner.concat()));
    }
    let wat = format!(
        "(module (import \"tapdoor\" \"output\" (func $output (param i32 i32) (result i32)))
         (memory (export \"memory\") 1) (data (i32.const 64) \"{}\")
         (func (export \"select\") (param i32 i32) (result i32) (i32.const 0x9000))
         (func (export \"process\") (param i32 i32) (result i32) (drop (call $output (i32.const 64) (i32.const {}))) (i32.const 0x9000))
         (func (export \"deselect\") (param i32))
         (@custom \"tapdoor\" \"{}\"))",
        text(answer),
        answer.len(),
        text(&section)
    );
    wat::parse_str(&wat).unwrap_or_else(|error| panic!("{error}\n{wat}"))
}

/// A load as a host does it.
#[derive(Clone, Debug)]
pub struct Load {
    pub elf: Aid,
    pub domain: Option<Aid>,
    pub hash: Vec<u8>,
    pub parameters: LoadParameters,
    pub token: Vec<u8>,
    pub file: Vec<u8>,
}

impl Load {
    /// Of this code, unsigned.
    pub fn new(elf: Aid, version: [u8; 2], code: &[u8]) -> Self {
        let file = LoadFile {
            signatures: Vec::new(),
            block: code,
        };
        Self {
            elf,
            domain: None,
            hash: load_file::hash(code).to_vec(),
            parameters: LoadParameters {
                code_size: Some(code.len() as u32),
                version: Some(version),
                ..LoadParameters::default()
            },
            token: Vec::new(),
            file: file.encode(),
        }
    }

    /// Signed by the provider.
    pub fn signed(elf: Aid, version: [u8; 2], code: &[u8]) -> Self {
        let file = LoadFile::signed(code, Aid::CARD_MANAGER, |hash| sign::sign(&PROVIDER, hash)).unwrap();
        Self {
            file,
            ..Self::new(elf, version, code)
        }
    }

    /// Load file `n` with one module, which answers with `n || version`.
    pub fn simple(n: u8, version: [u8; 2]) -> Self {
        let code = code(&elf(n), &[&module_of(n)], version, &[&[n], &version[..]].concat());
        Self::new(elf(n), version, &code)
    }

    pub fn for_load(&self) -> Vec<u8> {
        let parameters = self.parameters.encode();
        let install = Install::ForLoad(InstallForLoad {
            elf: self.elf,
            security_domain: self.domain,
            hash: &self.hash,
            parameters: &parameters,
            token: &self.token,
        });
        install.encode().unwrap()
    }

    /// INSTALL [for load] and the LOAD commands.
    pub fn commands(&self, size: usize) -> Vec<Vec<u8>> {
        let blocks = load_file::blocks(&self.file, size).map(|block| block.encode().unwrap());
        std::iter::once(self.for_load()).chain(blocks).collect()
    }
}
