//! Tables in `data/`: tab-separated lines, `#` begins a comment line. They are taken apart when the crate is compiled, and a
//! line with too few columns does not compile.

/// How many data lines `text` has.
pub(crate) const fn count(text: &'static str) -> usize {
    let mut lines = 0;
    let mut rest = text;
    while let (Some(line), after) = line(rest) {
        if is_data(line) {
            lines += 1;
        }
        rest = after;
    }
    lines
}

/// The `N` data lines of `text`, the first `C` columns of each.
pub(crate) const fn rows<const N: usize, const C: usize>(text: &'static str) -> [[&'static str; C]; N] {
    let mut rows = [[""; C]; N];
    let mut n = 0;
    let mut rest = text;
    while let (Some(line), after) = line(rest) {
        if is_data(line) {
            rows[n] = columns(line);
            n += 1;
        }
        rest = after;
    }
    rows
}

const fn is_data(line: &str) -> bool {
    !line.is_empty() && line.as_bytes()[0] != b'#'
}

const fn columns<const C: usize>(line: &'static str) -> [&'static str; C] {
    let mut columns = [""; C];
    let mut rest = line;
    let mut n = 0;
    while n < C {
        let end = position(rest, b'\t');
        assert!(end > 0, "a column is empty or missing");
        (columns[n], rest) = cut(rest, end);
        n += 1;
    }
    assert!(rest.is_empty(), "a column too many");
    columns
}

/// The first line of `text`, without its end (LF or CR LF), and what follows it.
const fn line(text: &'static str) -> (Option<&'static str>, &'static str) {
    if text.is_empty() {
        return (None, text);
    }
    let (line, after) = cut(text, position(text, b'\n'));
    match line.as_bytes() {
        [.., b'\r'] => (Some(line.split_at(line.len() - 1).0), after),
        _ => (Some(line), after),
    }
}

/// Where `byte` is first found in `text`, or the length of `text`.
const fn position(text: &str, byte: u8) -> usize {
    let bytes = text.as_bytes();
    let mut n = 0;
    while n < bytes.len() && bytes[n] != byte {
        n += 1;
    }
    n
}

/// `text` before and after the separator at `end`, which is one byte of ASCII.
const fn cut(text: &'static str, end: usize) -> (&'static str, &'static str) {
    let (before, after) = text.split_at(end);
    if after.is_empty() {
        (before, after)
    } else {
        (before, after.split_at(1).1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_line_ends() {
        const TEXT: &str = "# a\tcomment\n\nx\ty\r\n1\t2 3";
        const ROWS: [[&str; 2]; count(TEXT)] = rows(TEXT);
        assert_eq!(ROWS, [["x", "y"], ["1", "2 3"]]);
        assert_eq!(count(""), 0);
    }
}
