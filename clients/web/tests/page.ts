// What the tests give to a blank page: the client itself.
import * as holdfast from "../src/index.js";

Object.assign(globalThis, { holdfast });
