"""What every glTF 2.0 file is made of: its JSON and buffers, their arrays, and where its nodes are.

Meshes are read by `diffgs_jax.meshing`, Gaussians by `diffgs_jax.interop.gltf_splats`.
"""
