//! [`System`]: the seam through which every check looks at the machine, and [`Recording`], a machine that was looked at.

use std::cell::RefCell;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a look found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Look<T> {
    /// It is there.
    Is(T),
    /// It is not there.
    Missing,
    /// It is there, and this user may not look.
    Denied,
    /// It is there and does not work; the system's own words.
    Failed(String),
}

impl<T> Look<T> {
    /// What is there.
    pub fn found(self) -> Option<T> {
        if let Self::Is(what) = self { Some(what) } else { None }
    }

    /// Whether it is not there.
    pub const fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }
}

/// A reader as the smart card service has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reader {
    /// Its name.
    pub name: String,
    /// Whether a program is connected to its card.
    pub in_use: bool,
    /// Whether that program has it for itself.
    pub exclusive: bool,
    /// Whether a card is there.
    pub card: bool,
    /// Whether that card does not answer.
    pub mute: bool,
}

/// Why the smart card service does not tell its readers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoReaders {
    /// It does not run.
    NoService,
    /// This user may not ask it.
    Permission,
    /// Something else.
    Failed,
}

/// A program that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its process number.
    pub pid: u32,
    /// Its name.
    pub name: String,
}

/// A command to a reader, and its answer; hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// A pseudo-APDU.
    pub command: String,
    /// What came back.
    pub answer: Look<String>,
}

/// A machine that can be looked at. Nothing is changed by looking, and every look ends in bounded time.
pub trait System {
    /// Its kind: `linux`, `macos`, `windows`, ...
    fn os(&self) -> String;
    /// A text file, its first 256 KiB.
    fn file(&self, path: &str) -> Look<String>;
    /// The names in a folder, in order.
    fn folder(&self, path: &str) -> Look<Vec<String>>;
    /// Where a symbolic link leads.
    fn link(&self, path: &str) -> Look<String>;
    /// Whether somebody listens at a socket in the file system.
    fn socket(&self, path: &str) -> Look<()>;
    /// Where a program is, if it is installed.
    fn program(&self, name: &str) -> Option<String>;
    /// An environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// The smart card service's readers, or why it does not tell and its own words.
    fn readers(&self) -> Result<Vec<Reader>, (NoReaders, String)>;
    /// Programs that have the smart card service's library loaded, this one aside; as far as this user may see.
    fn clients(&self) -> Vec<Program>;
    /// Programs that have this file open; as far as this user may see.
    fn holders(&self, path: &str) -> Vec<Program>;
    /// What a reader of the smart card service answers to commands of its own, one after another: its questions, none of its settings.
    fn ask(&self, reader: &str, commands: &[&[u8]]) -> Look<Vec<Asked>>;
}

/// Everything that was looked at, and what was found: a machine that can be mailed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Recording {
    /// What this is, for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub about: String,
    /// See [`System::os`].
    pub os: String,
    /// See [`System::file`]; what was never looked at is missing.
    pub files: BTreeMap<String, Look<String>>,
    /// See [`System::folder`].
    pub folders: BTreeMap<String, Look<Vec<String>>>,
    /// See [`System::link`].
    pub links: BTreeMap<String, Look<String>>,
    /// See [`System::socket`].
    pub sockets: BTreeMap<String, Look<()>>,
    /// See [`System::program`].
    pub programs: BTreeMap<String, Option<String>>,
    /// See [`System::variable`].
    pub variables: BTreeMap<String, Option<String>>,
    /// See [`System::readers`].
    pub readers: Option<Result<Vec<Reader>, (NoReaders, String)>>,
    /// See [`System::clients`].
    pub clients: Vec<Program>,
    /// See [`System::holders`].
    pub holders: BTreeMap<String, Vec<Program>>,
    /// See [`System::ask`], by the reader's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub asked: BTreeMap<String, Look<Vec<Asked>>>,
}

impl System for Recording {
    fn os(&self) -> String {
        self.os.clone()
    }

    fn file(&self, path: &str) -> Look<String> {
        self.files.get(path).cloned().unwrap_or(Look::Missing)
    }

    fn folder(&self, path: &str) -> Look<Vec<String>> {
        self.folders.get(path).cloned().unwrap_or(Look::Missing)
    }

    fn link(&self, path: &str) -> Look<String> {
        self.links.get(path).cloned().unwrap_or(Look::Missing)
    }

    fn socket(&self, path: &str) -> Look<()> {
        self.sockets.get(path).cloned().unwrap_or(Look::Missing)
    }

    fn program(&self, name: &str) -> Option<String> {
        self.programs.get(name).cloned().flatten()
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned().flatten()
    }

    fn readers(&self) -> Result<Vec<Reader>, (NoReaders, String)> {
        let unknown = || Err((NoReaders::Failed, "not recorded".to_owned()));
        self.readers.clone().unwrap_or_else(unknown)
    }

    fn clients(&self) -> Vec<Program> {
        self.clients.clone()
    }

    fn holders(&self, path: &str) -> Vec<Program> {
        self.holders.get(path).cloned().unwrap_or_default()
    }

    fn ask(&self, reader: &str, _commands: &[&[u8]]) -> Look<Vec<Asked>> {
        self.asked.get(reader).cloned().unwrap_or(Look::Missing)
    }
}

/// A system that remembers what it was asked.
pub struct Recorder<S> {
    system: S,
    recording: RefCell<Recording>,
}

impl<S: System> Recorder<S> {
    /// Remembers every look at `system`.
    pub fn new(system: S) -> Self {
        let recording = Recording {
            os: system.os(),
            ..Recording::default()
        };
        Self {
            system,
            recording: RefCell::new(recording),
        }
    }

    /// What was looked at.
    pub fn into_recording(self) -> Recording {
        self.recording.into_inner()
    }
}

impl<S: System> System for Recorder<S> {
    fn os(&self) -> String {
        self.system.os()
    }

    fn file(&self, path: &str) -> Look<String> {
        let seen = self.system.file(path);
        self.recording.borrow_mut().files.insert(path.to_owned(), seen.clone());
        seen
    }

    fn folder(&self, path: &str) -> Look<Vec<String>> {
        let seen = self.system.folder(path);
        self.recording.borrow_mut().folders.insert(path.to_owned(), seen.clone());
        seen
    }

    fn link(&self, path: &str) -> Look<String> {
        let seen = self.system.link(path);
        self.recording.borrow_mut().links.insert(path.to_owned(), seen.clone());
        seen
    }

    fn socket(&self, path: &str) -> Look<()> {
        let seen = self.system.socket(path);
        self.recording.borrow_mut().sockets.insert(path.to_owned(), seen.clone());
        seen
    }

    fn program(&self, name: &str) -> Option<String> {
        let seen = self.system.program(name);
        self.recording.borrow_mut().programs.insert(name.to_owned(), seen.clone());
        seen
    }

    fn variable(&self, name: &str) -> Option<String> {
        let seen = self.system.variable(name);
        self.recording.borrow_mut().variables.insert(name.to_owned(), seen.clone());
        seen
    }

    fn readers(&self) -> Result<Vec<Reader>, (NoReaders, String)> {
        let seen = self.system.readers();
        self.recording.borrow_mut().readers = Some(seen.clone());
        seen
    }

    fn clients(&self) -> Vec<Program> {
        let seen = self.system.clients();
        self.recording.borrow_mut().clients.clone_from(&seen);
        seen
    }

    fn holders(&self, path: &str) -> Vec<Program> {
        let seen = self.system.holders(path);
        self.recording.borrow_mut().holders.insert(path.to_owned(), seen.clone());
        seen
    }

    fn ask(&self, reader: &str, commands: &[&[u8]]) -> Look<Vec<Asked>> {
        let seen = self.system.ask(reader, commands);
        self.recording.borrow_mut().asked.insert(reader.to_owned(), seen.clone());
        seen
    }
}
