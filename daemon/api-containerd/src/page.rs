//! Long lists go out in pages.

use futures::stream::{self, BoxStream, StreamExt};
use tonic::Status;

/// Entries of one message (containerd's content and snapshots services).
const PAGE: usize = 100;

pub type Pages<T> = BoxStream<'static, Result<T, Status>>;

/// A stream of messages, each made of at most [`PAGE`] entries. No entries: no message.
pub fn pages<E, M>(mut entries: Vec<E>, message: impl Fn(Vec<E>) -> M + Send + 'static) -> Pages<M>
where
    E: Send + 'static,
    M: Send + 'static,
{
    let mut all = Vec::with_capacity(entries.len().div_ceil(PAGE));
    while !entries.is_empty() {
        let rest = entries.split_off(entries.len().min(PAGE));
        all.push(std::mem::replace(&mut entries, rest));
    }
    stream::iter(all).map(move |page| Ok(message(page))).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_lost_at_the_edges() {
        for count in [0, 1, 99, 100, 101, 250] {
            let sizes: Vec<usize> = pages((0..count).collect(), |page: Vec<usize>| page.len())
                .map(|page| page.unwrap())
                .collect()
                .await;
            assert_eq!(sizes.iter().sum::<usize>(), count);
            assert_eq!(sizes.len(), count.div_ceil(100));
        }
    }
}
