// Prints what Khronos's validator says of a glTF file, as JSON.
//   node validate_gltf.mjs FOLDER_OF_PACKAGES FILE
import fs from 'node:fs';
import path from 'node:path';
import { createRequire } from 'node:module';

const [folder, file] = process.argv.slice(2);
const validator = createRequire(path.join(folder, 'package.json'))('gltf-validator');
console.log(JSON.stringify((await validator.validateBytes(new Uint8Array(fs.readFileSync(file)))).issues));
