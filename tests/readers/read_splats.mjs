// Reads a splat with three.js and prints where its Gaussians are, how wide and of which colours, as JSON.
//   node read_splats.mjs FOLDER_OF_PACKAGES FILE
import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const [folder, file] = process.argv.slice(2);
globalThis.self = globalThis;
const load = (name) => import(pathToFileURL(path.join(folder, 'node_modules', 'three', name)).href);
const bytes = fs.readFileSync(file);
const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);
const rows = (attribute, width) =>
	Array.from({ length: attribute.count }, (_, i) => Array.from(attribute.array.slice(width * i, width * (i + 1))));

const told = (geometry, place) => ({
	centers: rows(geometry.getAttribute('position'), 3).map(place),
	covariances: rows(geometry.getAttribute('covariance'), 6),
	colors: rows(geometry.getAttribute('color'), 4),
});

if (file.endsWith('.spz')) {
	const { SPZLoader } = await load('examples/jsm/loaders/SPZLoader.js');
	console.log(JSON.stringify(told(await new SPZLoader().parse(buffer), (point) => point)));
} else {
	const { Vector3 } = await load('build/three.module.js');
	const { GLTFLoader } = await load('examples/jsm/loaders/GLTFLoader.js');
	const { GLTFGaussianSplatLoaderExtension } = await load('examples/jsm/loaders/GLTFGaussianSplatLoaderExtension.js');
	const loader = new GLTFLoader();
	loader.register((parser) => new GLTFGaussianSplatLoaderExtension(parser));
	const { scene } = await loader.parseAsync(buffer, '');
	scene.updateMatrixWorld(true);
	scene.traverse((object) => {
		if (object.splatGeometry === undefined) return;
		const place = (point) => new Vector3(...point).applyMatrix4(object.matrixWorld).toArray();
		console.log(JSON.stringify(told(object.splatGeometry, place)));
	});
}
