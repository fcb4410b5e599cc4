/** What "#kernels" is where Wasm comes as modules and is not compiled at run time: workerd. Shipped as it is. */

import relaxed from "./unitcell.relaxed.wasm";
import baseline from "./unitcell.wasm";

const MODULES = { baseline, relaxed };

export const embeddedModule = (variant) => MODULES[variant];
