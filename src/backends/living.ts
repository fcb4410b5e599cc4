/** Objects as long as others hold them. */
export class Living<T extends object> {
  readonly #all = new Set<WeakRef<T>>();

  add(one: T): T {
    for (const ref of this.#all) if (!ref.deref()) this.#all.delete(ref);
    this.#all.add(new WeakRef(one));
    return one;
  }

  *[Symbol.iterator](): Iterator<T> {
    for (const ref of this.#all) {
      const one = ref.deref();
      if (one) yield one;
    }
  }
}
