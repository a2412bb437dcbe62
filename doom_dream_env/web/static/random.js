// Random numbers that can be seeded, saved with a dream, and made again elsewhere.
//
// A counter in steps of the golden ratio, mixed by the finaliser of MurmurHash3 (A. Appleby, public domain). The state is
// the counter: one unsigned number of 32 bits.

const STEP = 0x9e3779b9;

export class Random {
  constructor(seed = crypto.getRandomValues(new Uint32Array(1))[0]) {
    this.state = seed >>> 0;
  }

  /** A number in 0…1 (1 excluded) that float32 holds exactly. */
  uniform() {
    this.state = (this.state + STEP) >>> 0;
    let bits = this.state;
    bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
    bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
    bits ^= bits >>> 16;
    return (bits >>> 8) / 2 ** 24;
  }

  /** A whole number from 0 to size - 1. */
  below(size) {
    return Math.floor(this.uniform() * size);
  }

  /** The index of one of some probabilities that sum to about one. */
  choose(probabilities) {
    let left = this.uniform();
    for (let index = 0; index < probabilities.length - 1; index++) {
      left -= probabilities[index];
      if (left < 0) return index;
    }
    return probabilities.length - 1;
  }
}
