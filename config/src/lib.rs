//! Configuration files (TOML) whose errors name file, line and field.
//!
//! A value that needs more than TOML can say (a key of a given length, a time, an identifier) is read as a [`Field`] and
//! checked through [`File`], which knows where it stood.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::de::DeserializeOwned;
pub use toml::Spanned;
use zeroize::Zeroizing;

/// A string in a file that remembers where it stood.
pub type Field = Spanned<String>;

/// What is wrong with a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// Which file.
    pub file: PathBuf,
    /// Line, from 1; none when the file could not be read at all.
    pub line: Option<usize>,
    /// Which field.
    pub field: Option<String>,
    /// What is wrong, and what it should be. Never contains the value of a secret.
    pub detail: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(field) = &self.field {
            write!(f, ": field `{field}`")?;
        }
        write!(f, ": {}", self.detail)
    }
}

/// A configuration file as text, for saying where something stands in it.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
    text: Zeroizing<String>,
}

impl File {
    /// Reads a file and its content as `T`.
    ///
    /// # Errors
    /// [`ConfigError`] with line and field for anything that is not TOML or not a `T`.
    pub fn load<T: DeserializeOwned>(path: &Path) -> Result<(Self, T), ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|e| ConfigError {
            file: path.into(),
            line: None,
            field: None,
            detail: format!("cannot be read: {e}; `tapdoor init DIR` makes a working set"),
        })?;
        Self::parse(path, text)
    }

    /// The same from text; `path` is for messages and for relative paths.
    ///
    /// # Errors
    /// As [`File::load`].
    pub fn parse<T: DeserializeOwned>(path: &Path, text: String) -> Result<(Self, T), ConfigError> {
        let file = Self {
            path: path.into(),
            text: Zeroizing::new(text),
        };
        match toml::from_str(&file.text) {
            Ok(content) => Ok((file, content)),
            Err(error) => {
                let at = error.span().map(|span| span.start);
                Err(ConfigError {
                    line: at.map(|at| file.line(at)),
                    field: at.and_then(|at| file.field(at)),
                    // The first line says it all; later ones would quote the file, secrets included.
                    detail: error.message().lines().next().unwrap_or_default().to_owned(),
                    file: file.path,
                })
            }
        }
    }

    /// A path in the file, taken from the file's own folder.
    #[must_use]
    pub fn resolve(&self, path: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    /// A complaint about the value that stands at `span`.
    pub fn error(&self, span: &std::ops::Range<usize>, detail: impl Into<String>) -> ConfigError {
        ConfigError {
            file: self.path.clone(),
            line: Some(self.line(span.start)),
            field: self.field(span.start),
            detail: detail.into(),
        }
    }

    /// A complaint about the file as a whole.
    pub fn error_in_file(&self, detail: impl Into<String>) -> ConfigError {
        ConfigError {
            file: self.path.clone(),
            line: None,
            field: None,
            detail: detail.into(),
        }
    }

    /// A key of exactly `N` bytes in hexadecimal.
    ///
    /// # Errors
    /// [`ConfigError`] saying how long it is; the value is not quoted.
    pub fn key<const N: usize>(&self, field: &Field) -> Result<Zeroizing<[u8; N]>, ConfigError> {
        let bytes = Zeroizing::new(hex::decode(field.get_ref()).map_err(|_| {
            self.error(
                &field.span(),
                format!("must be {} hexadecimal digits ({N} bytes); this is not hexadecimal", 2 * N),
            )
        })?);
        let got = bytes.len();
        match bytes.as_slice().try_into() {
            Ok(key) => Ok(Zeroizing::new(key)),
            Err(_) => Err(self.error(
                &field.span(),
                format!("must have {N} bytes ({} hexadecimal digits), but has {got} bytes", 2 * N),
            )),
        }
    }

    /// Bytes of any length in hexadecimal.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn bytes(&self, field: &Field) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        let digits = Zeroizing::new(field.get_ref().clone());
        hex::decode(digits.as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| self.error(&field.span(), "must be hexadecimal digits"))
    }

    /// Anything that can be read from text: identifiers, AIDs.
    ///
    /// # Errors
    /// [`ConfigError`] with the type's own words.
    pub fn value<T: FromStr>(&self, field: &Field) -> Result<T, ConfigError>
    where
        T::Err: fmt::Display,
    {
        field
            .get_ref()
            .parse()
            .map_err(|e: T::Err| self.error(&field.span(), e.to_string()))
    }

    /// One of a few words.
    ///
    /// # Errors
    /// [`ConfigError`] that names them all.
    pub fn word<T: Copy>(&self, field: &Field, words: &[(&str, T)]) -> Result<T, ConfigError> {
        words
            .iter()
            .find(|(word, _)| word == field.get_ref())
            .map(|(_, value)| *value)
            .ok_or_else(|| {
                let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                self.error(&field.span(), format!("\"{}\" is none of: {}", field.get_ref(), all.join(", ")))
            })
    }

    /// A time (RFC 3339) as seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// [`ConfigError`] for anything else, and for times outside 1970 to 2106.
    pub fn time(&self, field: &Field) -> Result<u32, ConfigError> {
        let bad = || self.error(&field.span(), "must be a time between 1970 and 2106 as 2027-01-31T12:00:00Z");
        let time: jiff::Timestamp = field.get_ref().parse().map_err(|_| bad())?;
        u32::try_from(time.as_second()).map_err(|_| bad())
    }

    fn line(&self, at: usize) -> usize {
        self.text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count() + 1
    }

    /// The key before the `=` of the line on which a value stands, or the key that itself stands there.
    fn field(&self, at: usize) -> Option<String> {
        let at = at.min(self.text.len());
        let start = self.text.get(..at)?.rfind('\n').map_or(0, |n| n + 1);
        let line = self.text.get(start..)?.lines().next()?;
        let name = line.split_once('=')?.0.trim();
        (!name.is_empty()).then(|| name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        id: Field,
        #[serde(default, rename = "count")]
        _count: u32,
    }

    fn sample(text: &str) -> Result<(File, Sample), ConfigError> {
        File::parse(Path::new("dir/x.toml"), text.into())
    }

    #[test]
    fn errors_name_file_line_and_field() {
        let error = sample("id = \"00\"\ncount = \"many\"\n").unwrap_err();
        assert_eq!((error.line, error.field.as_deref()), (Some(2), Some("count")));
        let error = sample("id = \"00\"\n\nbogus = 1\n").unwrap_err();
        assert_eq!((error.line, error.field.as_deref()), (Some(3), Some("bogus")));
        assert!(
            error.to_string().starts_with("dir/x.toml:3: field `bogus`: unknown field"),
            "{error}"
        );
        assert!(sample("").unwrap_err().to_string().contains("missing field `id`"));
        assert!(sample("id = [").is_err());
    }

    #[test]
    fn a_key_of_another_length_is_refused_without_being_quoted() {
        let (file, content) = sample("id = \"deadbeef\"").unwrap();
        let error = file.key::<16>(&content.id).unwrap_err();
        assert_eq!(
            error.to_string(),
            "dir/x.toml:1: field `id`: must have 16 bytes (32 hexadecimal digits), but has 4 bytes"
        );
        assert!(file.key::<4>(&content.id).is_ok());
        let (file, content) = sample("id = \"xyz\"").unwrap();
        assert!(!file.key::<4>(&content.id).unwrap_err().to_string().contains("xyz"));
    }

    #[test]
    fn times_and_paths() {
        let (file, content) = sample("id = \"2027-01-31T12:00:00Z\"").unwrap();
        assert_eq!(file.time(&content.id), Ok(1_801_396_800));
        assert_eq!(file.resolve("a.chip"), Path::new("dir/a.chip"));
        let (file, content) = sample("id = \"tomorrow\"").unwrap();
        assert!(file.time(&content.id).is_err());
    }
}
