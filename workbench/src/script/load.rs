//! Files, included files, and the suites that come with the program.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::parse::{self, ParseError};
use super::syntax::{Place, Script, Step};

/// Most bytes of one script.
const MAX_FILE: u64 = 4 << 20;
/// How deep scripts may include each other.
const MAX_DEPTH: usize = 16;
/// How many files one script may include, all together.
const MAX_FILES: usize = 500;

/// Suites by name: what they are, and their text.
pub const SUITES: [(&str, &str, &str); 2] = [
    (
        "door",
        "the door applications: FCI, AUTHENTICATE, CONTROL FLOW, and whole taps with a lock.toml",
        include_str!("../../suites/door.door"),
    ),
    (
        "iso7816",
        "ISO/IEC 7816-4 behaviour of any phone's application; `--set aid=AID` chooses one",
        include_str!("../../suites/iso7816.door"),
    ),
];

/// Why a script cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// It is too long.
    #[error("{}: longer than {MAX_FILE} bytes; expected a script", .0.display())]
    TooLong(PathBuf),
    /// It is no text.
    #[error("{}:{line}: byte {offset} is not UTF-8; expected a script, which is plain text", path.display())]
    NotText {
        /// Which.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Byte of the file, from 0.
        offset: usize,
    },
    /// There is no suite of this name.
    #[error("there is no suite \"{0}\"; they are {all}", all = suite_names())]
    NoSuite(String),
    /// Its content.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// An `include` that cannot be followed.
    #[error("{place}:{}: include: {source}; expected a file beside this one, or suite:NAME", place.column)]
    Include {
        /// Where it stands.
        place: Place,
        /// Why.
        source: Box<LoadError>,
    },
    /// Scripts that include each other.
    #[error("{place}:{}: include {name}: {why}", place.column)]
    Endless {
        /// Where.
        place: Place,
        /// What was to be included.
        name: String,
        /// Why not.
        why: String,
    },
}

fn suite_names() -> String {
    SUITES.map(|(name, ..)| name).join(", ")
}

/// Loads a script by file, or by `suite:NAME`.
///
/// # Errors
/// [`LoadError`].
pub fn load(name: &str) -> Result<Script, LoadError> {
    Loader {
        open: Vec::new(),
        files: 0,
    }
    .load(name, None)
}

/// Reads a script from text that is at hand; what it includes is looked for beside `name`.
///
/// # Errors
/// [`LoadError`].
pub fn load_named(name: &str, text: &str) -> Result<Script, LoadError> {
    Loader {
        open: Vec::new(),
        files: 0,
    }
    .read(name, text)
}

struct Loader {
    /// The scripts that are being read, the outermost first.
    open: Vec<String>,
    files: usize,
}

impl Loader {
    fn load(&mut self, name: &str, beside: Option<&str>) -> Result<Script, LoadError> {
        if let Some(suite) = name.strip_prefix("suite:") {
            let found = SUITES.iter().find(|(n, ..)| *n == suite);
            let (_, _, text) = found.ok_or_else(|| LoadError::NoSuite(suite.into()))?;
            return self.read(name, text);
        }
        let path = match beside.filter(|b| !b.starts_with("suite:")).and_then(|b| Path::new(b).parent()) {
            Some(folder) => folder.join(name),
            None => PathBuf::from(name),
        };
        let text = read_file(&path)?;
        self.read(&path.display().to_string(), &text)
    }

    fn read(&mut self, name: &str, text: &str) -> Result<Script, LoadError> {
        self.open.push(name.to_owned());
        let file: Arc<str> = name.into();
        let mut include = |place: &Place, name: &str| self.include(place, name);
        let script = parse::parse(&file, text, &mut include);
        self.open.pop();
        script
    }

    fn include(&mut self, place: &Place, name: &str) -> Result<Vec<Step>, LoadError> {
        let endless = |why: String| LoadError::Endless {
            place: place.clone(),
            name: name.to_owned(),
            why,
        };
        self.files += 1;
        if self.open.len() >= MAX_DEPTH || self.files > MAX_FILES {
            return Err(endless(format!(
                "at most {MAX_FILES} files, {MAX_DEPTH} deep; do they include each other? ({})",
                self.open.join(" > ")
            )));
        }
        let beside = self.open.last().cloned();
        let script = self.load(name, beside.as_deref());
        match script {
            Ok(script) => Ok(script.steps),
            // A place further inside says more.
            Err(error @ (LoadError::Parse(_) | LoadError::Include { .. } | LoadError::Endless { .. })) => Err(error),
            Err(error) => Err(LoadError::Include {
                place: place.clone(),
                source: Box::new(error),
            }),
        }
    }
}

fn read_file(path: &Path) -> Result<String, LoadError> {
    let fault = |source| LoadError::Io {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(fault)?.take(MAX_FILE + 1);
    file.read_to_end(&mut bytes).map_err(fault)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(LoadError::TooLong(path.to_owned()));
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        LoadError::NotText {
            path: path.to_owned(),
            line: 1 + error.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count(),
            offset,
        }
    })
}
