//! The machine that this program runs on.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tapdoor_reader::acr122u::{self, EscapeError};
use tapdoor_reader::source::SourceErrorKind;
use tapdoor_reader::source::pcsc::list_readers;

use super::system::{Asked, Look, NoReaders, Program, Reader, System};

/// How long the smart card service may take to tell its readers: a reader that hangs makes it wait, too.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest text that is of interest.
const LONGEST: u64 = 256 * 1024;

/// The machine that this program runs on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Here;

fn look<T>(result: io::Result<T>) -> Look<T> {
    result.map_or_else(
        |e| match e.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Look::Missing,
            io::ErrorKind::PermissionDenied => Look::Denied,
            _ => Look::Failed(e.to_string()),
        },
        Look::Is,
    )
}

impl System for Here {
    fn os(&self) -> String {
        std::env::consts::OS.to_owned()
    }

    fn file(&self, path: &str) -> Look<String> {
        look(File::open(path).and_then(|file| {
            let mut bytes = Vec::new();
            file.take(LONGEST).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }))
    }

    fn folder(&self, path: &str) -> Look<Vec<String>> {
        look(fs::read_dir(path).map(|entries| {
            let mut names: Vec<String> = entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect();
            names.sort_unstable();
            names
        }))
    }

    fn link(&self, path: &str) -> Look<String> {
        look(fs::read_link(path).map(|target| target.to_string_lossy().into_owned()))
    }

    #[cfg(unix)]
    fn socket(&self, path: &str) -> Look<()> {
        look(std::os::unix::net::UnixStream::connect(path).map(|_| ()))
    }

    #[cfg(not(unix))]
    fn socket(&self, _path: &str) -> Look<()> {
        Look::Missing
    }

    fn program(&self, name: &str) -> Option<String> {
        // Services are often outside of an ordinary user's path.
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path)
            .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
            .map(|folder| folder.join(name))
            .find(|file| file.is_file())
            .map(|file| file.display().to_string())
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn readers(&self) -> Result<Vec<Reader>, (NoReaders, String)> {
        let (send, receive) = mpsc::channel();
        thread::spawn(move || send.send(list_readers()));
        let listed = receive.recv_timeout(PATIENCE).map_err(|_| {
            (
                NoReaders::Failed,
                format!("the smart card service did not answer within {} s", PATIENCE.as_secs()),
            )
        })?;
        let readers = listed.map_err(|e| {
            let why = match e.kind {
                SourceErrorKind::NoService => NoReaders::NoService,
                SourceErrorKind::Permission => NoReaders::Permission,
                _ => NoReaders::Failed,
            };
            (why, e.detail)
        })?;
        Ok(readers
            .into_iter()
            .map(|reader| Reader {
                name: reader.name,
                in_use: reader.in_use,
                exclusive: reader.exclusive,
                card: reader.present,
                mute: reader.mute,
            })
            .collect())
    }

    fn ask(&self, reader: &str, commands: &[&[u8]]) -> Look<Vec<Asked>> {
        let (send, receive) = mpsc::channel();
        let (name, commands): (_, Vec<Vec<u8>>) = (reader.to_owned(), commands.iter().map(|command| command.to_vec()).collect());
        let sent = commands.clone();
        thread::spawn(move || send.send(acr122u::ask(&name, &sent)));
        let late = || Look::Failed(format!("the reader did not answer within {} s", PATIENCE.as_secs()));
        match receive.recv_timeout(PATIENCE) {
            Err(_) => late(),
            Ok(Err(EscapeError::Busy)) => Look::Denied,
            Ok(Err(EscapeError::NotAllowed(_))) => Look::Missing,
            Ok(Err(error)) => Look::Failed(error.to_string()),
            Ok(Ok(answers)) => Look::Is(
                commands
                    .iter()
                    .zip(answers)
                    .map(|(command, answer)| Asked {
                        command: hex::encode(command),
                        answer: answer.map_or_else(|error| Look::Failed(error.to_string()), |bytes| Look::Is(hex::encode(bytes))),
                    })
                    .collect(),
            ),
        }
    }

    fn clients(&self) -> Vec<Program> {
        programs(|process| {
            fs::read(process.join("maps")).is_ok_and(|maps| {
                let wanted = b"libpcsclite";
                maps.windows(wanted.len()).any(|part| part == wanted)
            })
        })
    }

    fn holders(&self, path: &str) -> Vec<Program> {
        programs(|process| {
            fs::read_dir(process.join("fd")).is_ok_and(|open| {
                open.flatten()
                    .any(|entry| fs::read_link(entry.path()).is_ok_and(|file| file.as_os_str() == OsStr::new(path)))
            })
        })
    }
}

/// The processes of this machine that `wanted` is true of (their folder in /proc), this one aside; none where there is no /proc.
fn programs(wanted: impl Fn(&Path) -> bool) -> Vec<Program> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let mut found: Vec<Program> = entries
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let process = entry.path();
            if pid == std::process::id() || !wanted(&process) {
                return None;
            }
            let name = fs::read_to_string(process.join("comm")).ok()?.trim().to_owned();
            Some(Program { pid, name })
        })
        .collect();
    found.sort_by_key(|program| program.pid);
    found
}
