//! Lines up cells that are ended by tabs, as Go's tabwriter does with the widths Docker gives it.

/// Docker's tables: a cell is at least ten wide and three blanks stand between cells.
const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// Aligns `text`. A column is a run of lines that have a cell there; a line's last cell, which no tab ends, is in none.
pub(crate) fn align(text: &str) -> String {
    align_with(text, MIN_WIDTH, PADDING)
}

pub(crate) fn align_with(text: &str, min_width: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut out: Vec<String> = vec![String::new(); lines.len()];
    columns(&lines, 0..lines.len(), 0, min_width, padding, &mut out);
    out.join("\n")
}

fn columns(
    lines: &[Vec<&str>],
    range: std::ops::Range<usize>,
    column: usize,
    min_width: usize,
    padding: usize,
    out: &mut [String],
) {
    let ended = |at: usize| lines[at].len() > column + 1;
    let mut at = range.start;
    while at < range.end {
        if !ended(at) {
            out[at].push_str(lines[at].get(column).copied().unwrap_or_default());
            at += 1;
            continue;
        }
        let end = (at..range.end).find(|line| !ended(*line)).unwrap_or(range.end);
        let widest = (at..end)
            .map(|line| lines[line][column].chars().count())
            .max()
            .unwrap_or(0);
        let width = (widest + padding).max(min_width);
        for line in at..end {
            let cell = lines[line][column];
            out[line].push_str(cell);
            out[line].extend(std::iter::repeat_n(' ', width - cell.chars().count()));
        }
        columns(lines, at..end, column + 1, min_width, padding, out);
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_ps_is_docker_s() {
        let header = "CONTAINER ID\tIMAGE\tCOMMAND\tCREATED\tSTATUS\tPORTS\tNAMES\n";
        assert_eq!(
            align(header),
            "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n"
        );
    }

    #[test]
    fn columns_are_blocks_of_neighbouring_lines() {
        let text = "a\tb\nlonger cell here\tc\nplain\nx\ty";
        assert_eq!(
            align(text),
            "a                  b\nlonger cell here   c\nplain\nx         y"
        );
    }
}
