//! `.door` scripts: interop tests as plain text, one step a line (docs/scripts.md).
//!
//! | module | what |
//! |---|---|
//! | [`lex`] | words of a line, with their columns |
//! | [`syntax`] | what a script is made of |
//! | [`mod@parse`] | text to steps; errors name file, line, column and what was expected |
//! | [`mod@load`] | files, included files, and the suites that come with the program |
//! | [`pattern`] | what an answer must look like |
//! | [`run`] | steps against any reader |
//! | [`auth`] | the step `auth`: a whole tap by our own lock |
//! | [`report`] | results, as JUnit XML and TAP too |

pub mod auth;
pub mod lex;
pub mod load;
pub mod parse;
pub mod pattern;
pub mod report;
pub mod run;
pub mod syntax;

pub use auth::OwnLock;
pub use load::{LoadError, SUITES, load, load_named};
pub use parse::{ParseError, parse};
pub use report::{Case, Failure, Outcome, Report};
pub use run::{Options, Progress, Runner, Variables};
pub use syntax::{Script, Step};
