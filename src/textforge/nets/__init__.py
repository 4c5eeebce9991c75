"""Networks: generators that `decoding` can step, and discriminators that judge what they write."""
