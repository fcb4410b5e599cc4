/** Of the package; package.json has the same (test/package.test.ts). */
export const VERSION = "0.1.0";
